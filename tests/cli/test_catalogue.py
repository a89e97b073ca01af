"""Templates and job definitions."""

from __future__ import annotations

import io

import pytest

from tests.cli.conftest import CHAIN, SAMPLES, UPPER

JOB = 'name: double\nversion: "{version}"\ninputs: {{n: int}}\noutputs: {{n: int}}\nscript: |\n{body}\n'
DOUBLE = '  echo "to err" >&2\n  printf \'{"n": %s}\' $((CARONI_INPUT_n * 2)) > outputs.json'


def job(tmp_path, body: str = DOUBLE, version: str = "1", name: str = "double.yaml"):
    path = tmp_path / name
    path.write_text(JOB.format(version=version, body=body))
    return path


def test_template_revisions(sites, tmp_path, caroni):
    m1 = ("--config", sites / "m1")
    first = caroni("template", "add", CHAIN, *m1, "--json").json
    assert (first["name"], first["revision"], first["changed"]) == ("text-chain", 1, True)
    assert caroni("template", "add", CHAIN, *m1, "--json").json["changed"] is False
    changed = tmp_path / "text-chain.cwl"
    changed.write_text(CHAIN.read_text().replace('"prepend "', '"before "'))
    assert caroni("template", "add", changed, *m1, "--json").json["revision"] == 2
    assert caroni("template", "add", changed, "--name", "other", *m1).out == "template other, revision 1\n"
    assert [t["name"] for t in caroni("template", "list", *m1, "--json").json] == ["other", "text-chain"]
    old = caroni("template", "show", "text-chain", "--revision", 1, *m1, "--json").json
    assert old["inputs"][1] == {"name": "prefix", "type": "string", "default": '"prepend "'}
    assert old["job_types"] == ["append", "prepend", "upper-case"]
    assert old["documents"] == {"workflow.cwl": CHAIN.read_text()}
    assert caroni("template", "show", "text-chain", "--source", *m1).out == changed.read_text()
    assert "upper/shouted" in caroni("template", "show", "text-chain", *m1).out
    assert "has no revision 9" in caroni("template", "show", "text-chain", "--revision", 9, *m1).refused()


def test_validate_needs_no_configuration(tmp_path, caroni, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for sample in sorted(SAMPLES.glob("*/workflow.cwl")):
        assert caroni("template", "validate", sample, "--json").json["steps"]
    assert "valid" in caroni("template", "validate", CHAIN).out


def test_definition_revisions(sites, tmp_path, caroni):
    g1 = ("--config", sites / "g1")
    assert "revision 1\n" in caroni("job", "add", job(tmp_path), *g1).out
    assert "nothing has changed" in caroni("job", "add", job(tmp_path), *g1).out
    added = caroni("job", "add", job(tmp_path, version="2"), "--inactive", *g1, "--json").json
    assert [(a["revision"], a["active"], a["changed"]) for a in added] == [(2, False, True)]
    (listed,) = caroni("job", "list", *g1, "--json").json
    assert (listed["version"], listed["revision"], listed["active"]) == ("2", 2, False)
    assert "n: int" in caroni("job", "list", *g1).out
    assert caroni("job", "show", "double", *g1).out == job(tmp_path, version="2").read_text()


def test_adding_is_all_or_nothing(sites, tmp_path, caroni):
    bad = tmp_path / "bad.yaml"
    bad.write_text("name: bad\nscritp: x\n")
    line = caroni("job", "add", job(tmp_path), bad, "--config", sites / "g1").refused(1)
    assert f"{bad}:2:1: unknown key 'scritp'" in line
    assert caroni("job", "list", "--config", sites / "g1", "--json").json == []


def test_an_agent_that_takes_files_only(sites, tmp_path, caroni, monkeypatch):
    g1 = ("--config", sites / "g1")
    monkeypatch.setenv("CARONI_AGENT__DEFINITIONS", "files")
    assert "from files only" in caroni("job", "add", UPPER, *g1).refused()
    job(sites / "g1" / "jobs.d")
    assert [d["name"] for d in caroni("job", "list", *g1, "--json").json] == ["double"]
    assert caroni("job", "test", "double", "--input", "n=4", *g1).out.split() == ["{", '"n":', "8", "}"]
    job(sites / "g1" / "jobs.d", name="again.yml")
    assert "both define double" in caroni("job", "list", *g1).refused()


@pytest.mark.parametrize(
    ("body", "given", "code", "expected"),
    [
        ("  exit 3", "n=1", 1, "exit code 3"),
        ("  echo no", "n=1", 1, "outputs.json"),
        ('  echo \'{"n": "x"}\' > outputs.json', "n=1", 1, "n"),
        ("  kill -9 $$", "n=1", 1, "SIGKILL"),
    ],
)
def test_a_job_that_fails_says_why(tmp_path, caroni, body, given, code, expected):
    result = caroni("job", "test", job(tmp_path, body), "--input", given)
    assert result.code == code
    assert "failed" in result.err
    assert expected in result.err
    assert result.out == ""


def test_what_a_job_wrote_is_shown_and_safe(tmp_path, caroni):
    result = caroni(
        "job", "test", job(tmp_path, DOUBLE.replace('"to err"', r"$'\e[31mred'")), "--input", "n=2"
    )
    assert "\\x1b[31mred" in result.err
    assert "\x1b" not in result.err
    assert result.out == '{\n  "n": 4\n}\n'


def test_keep_says_where(tmp_path, caroni):
    result = caroni("job", "test", job(tmp_path), "--input", "n=2", "--keep", "--json").json
    from pathlib import Path
    from shutil import rmtree

    kept = Path(result["directory"])
    try:
        assert (kept / "work" / "outputs.json").read_text() == '{"n": 4}'
    finally:
        rmtree(kept.parent)


def test_a_text_from_stdin(sites, tmp_path, caroni, monkeypatch):
    def type_in(text: str) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))

    m1, g1 = ("--config", sites / "m1"), ("--config", sites / "g1")
    type_in(CHAIN.read_text())
    assert "give --name" in caroni("template", "add", "-", *m1).refused()
    type_in(CHAIN.read_text())
    assert caroni("template", "add", "-", "--name", "chain", *m1).out == "template chain, revision 1\n"
    type_in(CHAIN.read_text().replace('"prepend "', '"before "'))
    assert caroni("template", "add", "-", "--name", "chain", *m1).out == "template chain, revision 2\n"
    changed = caroni("template", "diff", "chain", 1, *m1)
    assert '-    default: "prepend "\n+    default: "before "' in changed.out
    assert caroni("template", "diff", "chain", 1, 1, *m1).out == ""
    assert "has no revision 7" in caroni("template", "diff", "chain", 1, 7, *m1).refused()
    assert [r["revision"] for r in caroni("template", "revisions", "chain", *m1, "--json").json] == [2, 1]
    assert "no template 'other'" in caroni("template", "revisions", "other", *m1).refused()
    type_in(job(tmp_path).read_text())
    assert caroni("job", "add", "-", *g1).out == "job double 1, revision 1\n"


def test_activation_and_revisions(sites, tmp_path, caroni):
    g1 = ("--config", sites / "g1")
    caroni("job", "add", job(tmp_path), *g1)
    caroni("job", "add", job(tmp_path, version="2"), "--inactive", *g1)

    def active() -> list[int]:
        found = caroni("job", "revisions", "double", *g1, "--json").json
        return [r["revision"] for r in found if r["active"]]

    assert active() == [1]
    assert caroni("job", "activate", "double", *g1).out == "job double: revision 2 is active\n"
    assert active() == [2]
    assert "revision 1 is active" in caroni("job", "activate", "double", "--revision", 1, *g1).out
    assert caroni("job", "deactivate", "double", *g1).out == "job double: no revision is active\n"
    assert active() == []
    assert '-version: "1"\n+version: "2"' in caroni("job", "diff", "double", 1, *g1).out
    assert "did you mean 'double'" in caroni("job", "activate", "duble", *g1).refused()
    assert "has no revision 9" in caroni("job", "activate", "double", "--revision", 9, *g1).refused()


def test_validate_tells_all(tmp_path, caroni):
    bad = tmp_path / "bad.cwl"
    text = (
        CHAIN.read_text()
        .replace("source: ", "surce: ")
        .replace("type: string\n    doc", "type: strng\n    doc")
    )
    bad.write_text(text.replace("append/suffixed", "append/nothing"))
    result = caroni("template", "validate", bad)
    assert result.code == 1
    assert "bad.cwl:19:5" in result.err
    assert result.err.rstrip().split("\n")[-1].startswith("caroni: bad.cwl:10:5: unknown type")
    idle = tmp_path / "idle.cwl"
    idle.write_text(CHAIN.read_text().replace("inputs:\n", "inputs:\n  spare: int\n", 1))
    result = caroni("template", "validate", idle)
    assert result.code == 0
    assert 'the input "spare" is used by no step' in result.err


def test_lint(tmp_path, caroni):
    text = job(tmp_path).read_text().replace("inputs: {n: int}", "inputs: {n: string}")
    trap = tmp_path / "trap.yaml"
    trap.write_text(text)
    result = caroni("job", "lint", trap)
    assert result.code == 1
    assert "script line 2" in result.out
    trap.write_text(job(tmp_path, "  if true; then\n    echo").read_text())
    assert "script line 3: bash: syntax error: unexpected end of file" in caroni("job", "lint", trap).out
    assert caroni("job", "lint", UPPER).out == "upper-case: nothing found\n"
