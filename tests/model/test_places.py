"""Database URLs and the places that SQLite must not be."""

from __future__ import annotations

from pathlib import Path

import pytest

from caroni.errors import ConfigError
from caroni.model.places import find_place, refuse_network_file_system, without_password

MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:40 / /home rw,relatime shared:2 - nfs4 server:/home rw,vers=4.2
31 30 8:2 / /home/local rw,relatime - xfs /dev/sdb rw
32 22 0:41 / /scratch rw - lustre 10.0.0.1@tcp:/scratch rw
33 22 0:42 / /mnt/with\\040space rw - cifs //server/share rw
34 22 0:43 / /gpfs/work rw - gpfs work rw
35 22 0:44 / /ssh rw - fuse.sshfs host:/ rw
36 22 8:3 / /twice rw - nfs a:/ rw
37 36 8:4 / /twice rw - ext4 /dev/sdc rw
38 22 0:45 / /tmp rw shared:3 master:4 - tmpfs tmpfs rw
broken line
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/ada/caroni.db", "nfs4"),
        ("/scratch/caroni.db", "lustre"),
        ("/mnt/with space/a/b.db", "cifs"),
        ("/gpfs/work/x.db", "gpfs"),
        ("/ssh/x.db", "fuse.sshfs"),
    ],
)
def test_network_file_systems_are_refused_with_the_remedy(path: str, kind: str) -> None:
    with pytest.raises(ConfigError, match=rf"is on {kind} .*local disk, or a postgres:// url"):
        refuse_network_file_system(Path(path), MOUNTS)


@pytest.mark.parametrize(
    "path", ["/var/lib/x.db", "/home/local/x.db", "/homework/x.db", "/twice/x.db", "/tmp/x.db"]
)
def test_local_file_systems_are_not(path: str) -> None:
    refuse_network_file_system(Path(path), MOUNTS)


def test_this_machine_is_asked_by_default(tmp_path: Path) -> None:
    refuse_network_file_system(tmp_path / "x.db")


def test_urls() -> None:
    place = find_place("sqlite:///var/lib/caroni/manager.db")
    assert place.path == Path("/var/lib/caroni/manager.db")
    assert place.connection["credentials"]["synchronous"] == "FULL"
    assert find_place("sqlite://:memory:").path is None
    for scheme in ("postgres", "postgresql"):
        place = find_place(f"{scheme}://ada:p%40ss@db.example:5433/caroni", read_only=True)
        credentials = place.connection["credentials"]
        assert place.path is None
        assert (credentials["user"], credentials["password"]) == ("ada", "p@ss")
        assert (credentials["host"], credentials["port"]) == ("db.example", 5433)
        assert credentials["server_settings"]["synchronous_commit"] == "on"
        assert credentials["server_settings"]["default_transaction_read_only"] == "on"
        assert place.label == f"{scheme}://ada:***@db.example:5433/caroni"


@pytest.mark.parametrize(
    "url",
    ["mysql://host/x", "sqlite://", "sqlite:///x.db?a=b", "postgres://host", "x.db", "postgres://h:x/y"],
)
def test_urls_that_are_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="database url"):
        find_place(url)


def test_a_password_is_never_shown() -> None:
    assert without_password("postgres://ada:se:cret@h/x") == "postgres://ada:***@h/x"
    with pytest.raises(ConfigError) as caught:
        find_place("oracle://ada:secret@h/x")
    assert "secret" not in str(caught.value)
