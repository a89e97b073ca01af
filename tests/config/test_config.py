"""The configuration: strict, with units, and each mistake answered in one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caroni.config import broker_url, database_url, load_config, read_secret
from caroni.config.describe import keys
from caroni.config.reference import reference
from caroni.config.schema import Config, Section
from caroni.config.units import format_duration, format_size, parse_duration
from caroni.core.sizes import parse_size
from caroni.errors import ConfigError

HEAD = 'role = "manager"\nsite = "a.example"\nname = "m1"\n'
AGENT = 'role = "agent"\nsite = "a.example"\nname = "g1"\n'
DOCS = Path(__file__).parents[2] / "docs" / "configuration.md"


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "caroni.toml"
    path.write_text(text)
    return path


def test_defaults_are_typed_and_paths_absolute(tmp_path):
    loaded = load_config(write(tmp_path, HEAD), {})
    config = loaded.config
    assert config.uri == "caroni://a.example/manager/m1"
    assert config.security.mode == "required"
    assert config.security.key_file == tmp_path / "identity.key"
    assert config.manager.lost_after == 40 * 60 * 1_000_000
    assert config.manager.max_open_requests == 500
    assert config.agent.slots == os.cpu_count()
    assert loaded.origins["site"] == "file"
    assert loaded.origins["amqp.heartbeat"] == "default"
    assert loaded.directory == tmp_path
    assert database_url(loaded) == f"sqlite://{tmp_path}/caroni.db"


def test_every_key_can_be_written_as_the_reference_spells_its_default(tmp_path):
    lines = [HEAD]
    for name, key in keys(Config).items():
        if key.struct is None or name in ("agent", "submitter"):
            continue
        lines.append(f"[{name}]")
        for sub in keys(key.struct).values():
            if sub.default_text and " of " not in sub.default_text:
                lines.append(f"{sub.name} = {sub.default_text}")
    assert (
        load_config(write(tmp_path, "\n".join(lines)), {}).config
        == load_config(write(tmp_path, HEAD), {}).config
    )


def test_rules_and_units(tmp_path):
    text = AGENT + (
        '[agent]\nslots = 3\noffer_ttl = "1h30m"\n[[agent.allow]]\nmanager = "caroni://b.example/manager/*"\n'
        'job_types = ["fft-*"]\nmax_runtime = "2h"\n[limits]\ndisk_reserve = "512MiB"\n'
    )
    config = load_config(write(tmp_path, text), {}).config
    assert config.agent.offer_ttl == 5_400_000_000
    assert config.agent.allow[0].job_types == ("fft-*",)
    assert config.agent.allow[0].max_queued == 1000
    assert config.limits.disk_reserve == 512 * 1024 * 1024


def test_environment_replaces_and_is_named_as_origin(tmp_path):
    path = write(tmp_path, HEAD + '[amqp]\nurl = "amqps://one.example/"\n')
    environ = {
        "CARONI_AMQP__URL": "amqps://two.example/",
        "CARONI_AMQP__PREFETCH": "64",
        "CARONI_MANAGER__OFFER_WINDOW": "2s",
        "CARONI_MANAGER__ALLOW_SUBMITTER": '[{submitter = "caroni://a.example/submitter/*"}]',
        "CARONI_NAME": "m2",
        "CARONI_CONFIG": "elsewhere",
        "CARONI_ENV_a__b": "an input of some job",
        "CARONI_DEBUG": "1",
        "CARONI_AGENT__SLOTS": "7",
    }
    loaded = load_config(path, environ)
    assert loaded.config.amqp.url == "amqps://two.example/"
    assert loaded.config.amqp.prefetch == 64
    assert loaded.config.manager.offer_window == 2_000_000
    assert loaded.config.manager.allow_submitter[0].submitter == "caroni://a.example/submitter/*"
    assert loaded.config.name == "m2"
    assert loaded.origins["amqp.url"] == "CARONI_AMQP__URL"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (HEAD + "[amqp]\nhearbeat = 3\n", "unknown key [amqp] hearbeat; did you mean heartbeat?"),
        (HEAD + "[aqmp]\n", "unknown section [aqmp]; did you mean amqp?"),
        (HEAD + "sight = 1\n", "unknown key sight; did you mean site?"),
        ('role = "manager"\nname = "m1"\n', "missing key site"),
        ('role = "boss"\nsite = "a"\nname = "b"\n', "role: 'boss' is not one of: manager, agent, submitter"),
        (HEAD.replace("m1", "M_1"), "name is outside its limits"),
        (HEAD + "[amqp]\nheartbeat = 20\n", 'must be a duration such as "40m", not 20'),
        (HEAD + '[amqp]\nheartbeat = "20 parsecs"\n', "'20 parsecs' is not a duration"),
        (HEAD + '[amqp]\nheartbeat = "1ms"\n', "[amqp] heartbeat is outside its limits (1s to 1h)"),
        (HEAD + '[amqp]\nprefetch = "many"\n', "[amqp] prefetch: must be a whole number, not 'many'"),
        (HEAD + "[amqp]\nprefetch = true\n", "must be a whole number, not True"),
        (HEAD + "[amqp]\nprefetch = 0\n", "[amqp] prefetch is outside its limits (1 to 10000)"),
        (HEAD + '[limits]\ndisk_reserve = "12 potatoes"\n', "is not a size"),
        (HEAD + "[agent]\nslots = 2\n", "[agent] has no meaning in the file of role manager"),
        (HEAD + '[amqp]\nurl = "amqps://u:secret@h/"\n', "holds a password"),
        (HEAD + '[amqp]\nurl = "amqp://broker.example/"\n', "is not encrypted"),
        (HEAD + '[amqp]\nurl = "http://broker.example/"\n', "must be amqps://"),
        (HEAD + '[amqp]\ncert_file = "a"\n', "cert_file and key_file belong together"),
        (HEAD + '[database]\nurl = "mysql://x"\n', "must be sqlite://"),
        (HEAD + '[database]\nurl = "postgres://u:p@h/n"\n', "holds a password"),
        (HEAD + '[[manager.trust]]\nagent = "caroni://*/agent/x"\n', "a site cannot be a wildcard"),
        (HEAD + '[[manager.trust]]\nagent = "caroni://b/manager/x"\n', "the role here is agent"),
        (
            HEAD + '[[manager.trust]]\nagents = "x"\n',
            "unknown key [manager.trust[0]] agents; did you mean agent?",
        ),
        (HEAD + '[[manager.trust]]\nagent = "x"\n', "not of the form caroni://<site>/agent/<name>"),
        (HEAD + "[manager]\ntrust = 3\n", "must be a list of tables"),
        (HEAD + '[manager]\nrebroadcast_min = "2h"\n', "rebroadcast_min is longer than rebroadcast_max"),
        (HEAD + "[amqp]\nbase_exchange = 'caroni_exchange'\n", 'it needs [security] mode = "lab"'),
        (HEAD + "[amqp]\nbase_exchange = 'caroni'\n[security]\nmode = 'lab'\n", "must be another one"),
        (HEAD + "[[manager.trust]]\nagent = 'unsigned:*'\n", 'it needs [security] mode = "lab"'),
        (HEAD + "[[manager.trust]]\nagent = 'unsigned:x'\n[security]\nmode = 'lab'\n", "not of the form"),
        (HEAD + "[security]\nmode = 'off'\n", "[security] mode: 'off' is not one of: required, lab"),
        ("role = \n", "not valid TOML"),
        (HEAD + "[amqp]\n'\\u001b[31m' = 1\n", "unknown key"),
    ],
)
def test_mistakes_are_one_line(tmp_path, text, expected):
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, text), {})
    message = str(caught.value)
    assert expected in message
    assert message.startswith(str(tmp_path / "caroni.toml"))
    assert "\n" not in message
    assert "\x1b" not in message
    assert "secret" not in message


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        (
            "CARONI_AMQP__HEARBEAT",
            "1s",
            "unknown key CARONI_AMQP__HEARBEAT; did you mean CARONI_AMQP__HEARTBEAT?",
        ),
        ("CARONI_NOTHING__X", "1", "unknown key CARONI_NOTHING__X"),
        ("CARONI_AMQP__PREFETCH", "lots", "is not a whole number"),
        ("CARONI_AMQP__HEARTBEAT", "5", "environment: CARONI_AMQP__HEARTBEAT: '5' is not a duration"),
        ("CARONI_AMQP__PREFETCH", "0", "from CARONI_AMQP__PREFETCH"),
    ],
)
def test_mistakes_in_the_environment(tmp_path, variable, value, expected):
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, HEAD), {variable: value})
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        '[amqp]\nurl = "amqp://127.0.0.1:5673/v"\n',
        '[amqp]\nurl = "amqp://guest:guest@localhost/"\n',
        '[amqp]\nurl = "amqp://[::1]/"\n',
        '[amqp]\nurl = "amqp://far.example/"\nallow_plain = true\n',
        '[amqp]\nurl = "amqp://far.example/"\n[security]\nmode = "lab"\n',
        '[amqp]\nurl = "amqps://u@far.example/"\npassword_file = "x"\n',
        '[amqp]\nbase_exchange = "caroni_exchange"\n[security]\nmode = "lab"\n'
        '[[manager.trust]]\nagent = "unsigned:*"\n[[manager.allow_submitter]]\nsubmitter = "unsigned:*"\n',
    ],
)
def test_brokers_that_are_taken(tmp_path, text):
    assert load_config(write(tmp_path, HEAD + text), {}).config.amqp.url


def test_missing_and_unreadable_files(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        load_config(tmp_path / "nothing", {})
    with pytest.raises(ConfigError, match="no such file"):
        load_config(tmp_path, {})
    (tmp_path / "caroni.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_config(tmp_path, {})
    (tmp_path / "caroni.toml").write_text("#" * 1024 * 1024 + "\n")
    with pytest.raises(ConfigError, match="larger than"):
        load_config(tmp_path, {})


def test_lookup_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="caroni init"):
        load_config(None, {})
    write(tmp_path, HEAD)
    assert load_config(None, {}).config.name == "m1"
    other = tmp_path / "other"
    other.mkdir()
    write(other, HEAD.replace("m1", "m2"))
    assert load_config(None, {"CARONI_CONFIG": str(other)}).config.name == "m2"


def test_passwords_come_from_guarded_files(tmp_path):
    secret = tmp_path / "pw"
    secret.write_text("p@ss/word\n")
    secret.chmod(0o600)
    loaded = load_config(
        write(
            tmp_path,
            HEAD + '[amqp]\nurl = "amqps://u@h:5671/v"\npassword_file = "pw"\n'
            '[database]\nurl = "postgres://u@h:5432/db"\npassword_file = "pw"\n',
        ),
        {},
    )
    assert broker_url(loaded) == "amqps://u:p%40ss%2Fword@h:5671/v"
    assert database_url(loaded) == "postgres://u:p%40ss%2Fword@h:5432/db"
    secret.chmod(0o640)
    with pytest.raises(ConfigError, match="mode 0640"):
        broker_url(loaded)
    secret.chmod(0o600)
    link = tmp_path / "link"
    link.symlink_to(secret)
    with pytest.raises(ConfigError, match="symbolic link"):
        read_secret(link)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_secret(tmp_path / "none")
    secret.write_text("")
    with pytest.raises(ConfigError, match="empty"):
        read_secret(secret)


def _structs(struct: type[Section]):
    yield struct
    for key in keys(struct).values():
        if key.struct is not None:
            yield from _structs(key.struct)


def test_every_key_is_described():
    for struct in _structs(Config):
        assert struct.__doc__
        for key in keys(struct).values():
            assert key.struct is not None or key.description, (struct, key.name)


def test_the_committed_reference_is_current():
    assert DOCS.read_text() == reference(), "run: python -m caroni.config > docs/configuration.md"


@given(st.integers(0, 10**9).map(lambda ms: ms * 1000))
def test_durations_round_trip(microseconds):
    assert parse_duration(format_duration(microseconds)) == microseconds


@given(st.integers(0, 2**50 - 1))
def test_sizes_round_trip(size):
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize("text", ["", "5", "-5s", "s", "5h h", "٣s", "5 parsecs"])
def test_bad_durations(text):
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)
