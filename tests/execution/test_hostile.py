"""Values, jobs and outputs that mean harm (attacks 70 to 77: docs/security.md, section 6)."""

from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from caroni.core import cwltypes
from caroni.core.messages import FailureClass
from caroni.core.plan import SECOND
from caroni.execution import outputs
from caroni.execution.definition import JobDefinition, Limits
from caroni.execution.launcher import boot_id
from caroni.execution.spool import Spool, SpoolSettings
from tests.execution.conftest import FAST, Host, define, job, pid_of, runs

ECHO = JobDefinition(name="echo", script="cat inputs/x", inputs={"x": "string"})


async def test_70_arithmetic_injection(host: Host, tmp_path: Path) -> None:
    mark = tmp_path / "X"
    value = json.dumps(f"a[$(touch {mark})]")
    number = define('[[ "$CARONI_INPUT_n" -eq 1 ]]; :', inputs={"n": "int"})
    outcome = await host.run(job(number, n=value))
    assert (outcome.state, outcome.failure_class) == ("failed", FailureClass.INPUT)
    assert outcome.info.startswith("input n: expected int, got the string")
    text = define('[[ "$CARONI_INPUT_n" = 1 ]]; cat inputs/n', inputs={"n": "string"})
    outcome = await host.run(job(text, n=value))
    assert outcome.stdout_tail == json.loads(value)
    assert not mark.exists()


@pytest.mark.parametrize("name", ["x=y", "BASH_ENV", "LD_PRELOAD", "a\0", "../x", "x\n", "", "é"])
async def test_71_names_that_are_not_declared(host: Host, name: str) -> None:
    outcome = await host.run(job(ECHO, **{"x": '"v"', name: '"v"'}))
    assert (outcome.state, outcome.failure_class) == ("failed", FailureClass.INPUT)
    assert "is not declared by the job" in outcome.info
    assert "\0" not in outcome.info


@pytest.mark.parametrize("name", ["x=y", "../x", "a\0b", "x\n", "é", "a" * 65])
def test_71_names_that_a_definition_could_only_have_by_a_broken_store(tmp_path: Path, name: str) -> None:
    spool = Spool(tmp_path, FAST)
    definition = JobDefinition(name="x", script=":", inputs={name: "string"})
    from caroni.execution.executor import JobRefused

    with pytest.raises(JobRefused):
        spool.prepare(job(definition, **{name: '"v"'}))


async def test_72_nul_and_huge_values_go_by_file(host: Host) -> None:
    definition = define(
        'wc -c < inputs/x; echo "${CARONI_INPUT_x-unset}" | head -c 9', inputs={"x": "string"}
    )
    for text in ("a\0b", "y" * 200_000, "é" * 20_000):
        outcome = await host.run(job(definition, x=json.dumps(text)))
        assert outcome.stdout_tail.split() == [str(len(text.encode())), "unset"], outcome
    for bad in ('"\\ud800"', '"\ud800"', "nonsense", "[" * 100_000):
        outcome = await host.run(job(ECHO, x=bad))
        assert (outcome.state, outcome.failure_class) == ("failed", FailureClass.INPUT), bad[:20]
    assert (await host.run(job(ECHO, x='"fine"'))).stdout_tail == "fine"


async def test_72_many_values_do_not_overflow_the_environment(host: Host) -> None:
    names = [f"x{n}" for n in range(200)]
    definition = define(
        "ls inputs | wc -l; env | grep -c CARONI_INPUT_", inputs=dict.fromkeys(names, "string")
    )
    outcome = await host.run(job(definition, **dict.fromkeys(names, json.dumps("v" * 30_000))))
    files, variables = map(int, outcome.stdout_tail.split())
    assert files == 200
    assert 0 < variables < 20


@pytest.mark.parametrize(
    "value", ["-rf", "$(id)", "`id`", "a\nb", "*", "; exit 9", '"; exit 9; "', "'", "\\"]
)
async def test_73_values_stay_data(host: Host, value: str) -> None:
    definition = define('printf %s "$CARONI_INPUT_x"; printf %s "$CARONI_ENV_x"', inputs={"x": "string"})
    outcome = await host.run(job(definition, x=json.dumps(value)))
    assert outcome.stdout_tail == value + value


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=50))
def test_73_environment_and_files_hold_what_was_sent(tmp_path: Path, text: str) -> None:
    spool = Spool(tmp_path, FAST)
    spool.open()
    spec = job(ECHO, x=json.dumps(text))
    spool.prepare(spec)
    work = Path(spool.directory(spec.job_uuid)) / "work"
    assert (work / "inputs" / "x").read_bytes() == text.encode()
    assert json.loads((work / "inputs.json").read_bytes()) == {"x": text}
    environment = json.loads((work.parent / "spec.json").read_bytes())["env"]
    assert environment.get("CARONI_INPUT_x") == (None if "\0" in text else text)
    spool.forget(spec.job_uuid)


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ('echo \'{"f": "../../../etc/passwd"}\' > outputs.json', "not a path inside"),
        ('echo \'{"f": "/etc/passwd"}\' > outputs.json', "not a path inside"),
        ('echo \'{"f": {"class": "File", "location": "file:///etc/passwd"}}\' > outputs.json', "not a path"),
        ('ln -s /etc/passwd x; echo \'{"f": "x"}\' > outputs.json', "symbolic link"),
        ('ln -s /etc d; echo \'{"f": "d/passwd"}\' > outputs.json', "symbolic link"),
        ('mkfifo x; echo \'{"f": "x"}\' > outputs.json', "not a regular file"),
        ('mkdir x; echo \'{"f": "x"}\' > outputs.json', "not a regular file"),
        ('echo \'{"f": "absent"}\' > outputs.json', "No such file"),
        ('echo \'{"f": "."}\' > outputs.json', "not a path inside"),
        ("echo '{\"f\": 3}' > outputs.json", "given as a path"),
        ("ln -s /dev/zero outputs.json", "symbolic link"),
        ("mkfifo outputs.json", "not a regular file"),
        ("mkdir outputs.json", "not a regular file"),
        (":", 'output "f" is missing: the job wrote no outputs.json'),
    ],
)
async def test_74_files_that_are_none(host: Host, script: str, text: str) -> None:
    outcome = await host.run(job(define(script, outputs={"f": "File"})))
    assert (outcome.state, outcome.failure_class) == ("failed", FailureClass.JOB)
    assert text in outcome.info


async def test_74_endless_output_ends_soon_and_bounded(host: Host) -> None:
    definition = define("yes; echo never", limits=Limits(stdout=1 << 20))
    spec = job(definition)
    outcome = await host.run(spec, 20)
    assert (outcome.state, outcome.failure_class) == ("failed", FailureClass.JOB)
    assert outcome.info == "stopped: it wrote more than 1 MiB to stdout (its limit)"
    assert (host.directory(spec) / "stdout").stat().st_size == 1 << 20
    assert len(outcome.stdout_tail) == 4096
    assert outcome.wall < 10 * SECOND


async def test_74_endless_output_that_ignores_signals(host: Host) -> None:
    definition = define(
        "trap '' TERM PIPE; while :; do printf %100000s x >&2; done", limits=Limits(stderr=1 << 16)
    )
    spec = job(definition)
    outcome = await host.run(spec, 20)
    assert outcome.info == "stopped: it wrote more than 64 KiB to stderr (its limit)"
    assert (host.directory(spec) / "stderr").stat().st_size == 1 << 16


async def test_74_outputs_file_too_large(host: Host) -> None:
    definition = define(
        'printf \'{"x": "%5000s"}\' "" > outputs.json', outputs={"x": "string"}, limits=Limits(outputs=4096)
    )
    assert "larger than 4096 bytes" in (await host.run(job(definition))).info


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"x": 1, "x": 2}', "twice"),
        ('{"x": NaN}', "not JSON"),
        ('{"x": 1e999}', ""),
        ('{"x": 1, "y": 2}', 'output "y" is not declared (declared: x)'),
        ('{"x": "1"}', "output x: expected int, got the string"),
        ('{"x": true}', "output x: expected int"),
        ('{"x": null}', 'output "x" is missing'),
        ("{}", 'output "x" is missing'),
        ("[1]", "not a JSON object of outputs but an array"),
        ("{", "not JSON"),
        ('{"x": 1} trailing', "not JSON"),
        ("hello", "not JSON"),
        ("\\xff", "not UTF-8"),
        ("", "the job printed nothing"),
        ('{"x": 99999999999999999999999}', "output x: expected int"),
    ],
)
async def test_75_outputs_that_are_not_what_was_promised(host: Host, text: str, complaint: str) -> None:
    definition = JobDefinition(
        name="x", command=("printf", text), outputs={"x": "int"}, outputs_from="stdout"
    )
    outcome = await host.run(job(definition))
    assert (outcome.state, outcome.failure_class) == ("failed", FailureClass.JOB)
    assert complaint in outcome.info
    assert "\n" not in outcome.info


def test_75_depth() -> None:
    good = b'{"x": ' + b"[" * 63 + b"]" * 63 + b"}"
    assert outputs.parse(good, "stdout")
    for depth in (64, 500, 100_000):
        with pytest.raises(outputs.BadOutput):
            outputs.parse(b'{"x": ' + b"[" * depth + b"]" * depth + b"}", "stdout")


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=60) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
).map(lambda value: json.dumps({"x": value}).encode()))  # fmt: skip
def test_75_any_bytes_are_read_or_refused(data: bytes) -> None:
    definition = JobDefinition(name="x", outputs={"x": "Any"})
    try:
        values = outputs.typed(definition, outputs.parse(data, "stdout"), "/nowhere")
    except outputs.BadOutput:
        return
    cwltypes.check_json(values["x"], "Any")


async def test_optional_outputs_may_be_missing(host: Host) -> None:
    outcome = await host.run(job(define(":", outputs={"x": ["null", "int"]})))
    assert outcome.outputs == {"x": "null"}
    outcome = await host.run(job(define(":", outputs={"x": ["null", "int"]}, outputs_from="stdout")))
    assert outcome.outputs == {"x": "null"}


async def test_files_become_objects(host: Host) -> None:
    definition = define(
        "mkdir d; printf data > 'd/a b'; printf '' > e\n"
        'echo \'{"f": "d/a b", "g": ["e", {"class": "File", "path": "./e"}], "h": null}\' > outputs.json',
        outputs={"f": "File", "g": {"type": "array", "items": "File"}, "h": ["null", "File"]},
    )
    spec = job(definition)
    outcome = await host.run(spec)
    assert outcome.state == "completed", outcome.info
    file = json.loads(outcome.outputs["f"])
    assert file == {
        "class": "File",
        "location": f"file://{host.directory(spec)}/work/d/a%20b",
        "basename": "a b",
        "size": 4,
        "checksum": "sha1$a17c9aaa61e80a1bf71d0d850af4e5baa9800bbd",
    }
    assert [f["basename"] for f in json.loads(outcome.outputs["g"])] == ["e", "e"]
    assert outcome.outputs["h"] == "null"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may start jobs as another user")
async def test_76_another_user_cannot_read_the_daemons_key(host: Host) -> None:
    key = host.spool.parent / "key.pem"
    key.write_text("secret")
    key.chmod(0o600)
    open_to_all = [p for p in (host.spool.parent, *host.spool.parents) if str(p) not in ("/", "/tmp")]
    before = {p: p.stat().st_mode & 0o777 for p in open_to_all}
    for path in open_to_all:
        path.chmod(before[path] | 0o011)
    await host.executor.close()
    await host.open(SpoolSettings(user="nobody", grace=SECOND, durable=False))
    definition = define(
        f"id -un; cat {key}; cat ../spec.json; touch ../exit.json; cat inputs/x\n"
        "echo '{\"x\": 1}' > outputs.json; grep NoNewPrivs /proc/self/status",
        inputs={"x": "string"},
        outputs={"x": "int"},
    )
    outcome = await host.run(job(definition, x='"mine"'))
    for path, mode in before.items():
        path.chmod(mode)
    assert outcome.outputs == {"x": "1"}, outcome
    assert outcome.stdout_tail.split() == ["nobody", "mineNoNewPrivs:", "1"]
    assert outcome.stderr_tail.count("Permission denied") == 3


async def test_76_what_a_job_leaves_behind_is_killed(host: Host) -> None:
    script = (
        "sleep 300 & echo $! > one\n"
        "setsid sleep 300 & echo $! > two\n"
        "(setsid bash -c 'trap \"\" TERM HUP; echo $$ > three; exec -a x sleep 300' &) &\n"
        "until [ -s three ]; do sleep 0.01; done\n"
    )
    spec = job(define(script))
    outcome = await host.run(spec)
    assert outcome.state == "completed"
    assert outcome.wall < 10 * SECOND
    for name in ("one", "two", "three"):
        assert not runs(pid_of(host.directory(spec) / "work" / name))


async def test_76_a_daemon_that_holds_the_pipes_open(host: Host) -> None:
    spec = job(define("setsid bash -c 'while :; do echo x; sleep 0.01; done' & exit 0"))
    outcome = await host.run(spec)
    assert outcome.state == "completed"


async def test_77_archives_stay_closed(host: Host) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("../../evil", "x")
    text = json.dumps(buffer.getvalue().decode("latin-1"))
    spec = job(ECHO, x=text)
    await host.run(spec)
    assert not list(host.spool.rglob("evil"))
    assert not (host.spool.parent / "evil").exists()


async def test_a_spool_that_cannot_be_written(host: Host) -> None:
    spec = job(define(":"))
    host.directory(spec).write_text("a file where the directory should be")
    outcome = await host.run(spec)
    assert (outcome.state, outcome.failure_class) == ("failed", FailureClass.AGENT)
    assert "cannot be written" in outcome.info
    assert (await host.run(job(define(":")))).state == "completed"


async def test_a_supervisor_without_its_spec(host: Host) -> None:
    spec = job(define(":"))
    host.executor.spool.prepare(spec)
    (host.directory(spec) / "spec.json").write_text("{")
    (host.directory(spec) / "claim").symlink_to("/nonexistent")
    outcome = await host.run(spec)
    assert outcome.failure_class is FailureClass.AGENT
    assert boot_id() == host.executor.spool.boot
