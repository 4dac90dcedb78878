"""``twistd --uid``: the proxy starts as root, and serves as somebody else."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import stat
import sys
import tempfile
from pathlib import Path
from unittest import skipUnless

from twisted.internet.protocol import Factory

from tests.functional.harness import (
    CHECKOUT,
    STOP_TIMEOUT,
    FunctionalTestCase,
    parse_listening,
    require,
)
from tests.functional.test_hostile import OK, Answering, connected, get, read_until

USER = "nobody"

RUN = "from twisted.scripts.twistd import run; run()"

WHO = """
import os

def running():
    ids = os.getuid(), os.geteuid(), os.getgid()
    print("the proxy is", *ids, sorted(os.getgroups()), flush=True)
    try:
        os.setuid(0)
    except PermissionError:
        print("and stays that", flush=True)
"""


def readable_by_others(path: str) -> bool:
    """Whether everybody may go to a folder and read it."""
    place = Path(path).resolve()
    return all(each.stat().st_mode & stat.S_IXOTH for each in (place, *place.parents))


def interpreter() -> str:
    """Give a Python whose library everybody can read: modules are loaded late, too."""
    if readable_by_others(os.path.dirname(os.__file__)):
        return sys.executable
    return require(f"/usr/bin/python3.{sys.version_info[1]}")


@skipUnless(os.name == "posix" and os.getuid() == 0, "only root can become somebody else")
class PrivilegeTests(FunctionalTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.user = pwd.getpwnam(USER)
        self.place = Path(tempfile.mkdtemp(prefix="interceptor-test-"))
        self.addCleanup(shutil.rmtree, self.place)
        self.place.chmod(0o755)
        self.confdir = self.place / "conf"
        self.confdir.mkdir(mode=0o700)
        self.script = self.place / "who.py"
        self.script.write_text(WHO)

    def words(self) -> list[str]:
        ids = ["--uid", str(self.user.pw_uid), "--gid", str(self.user.pw_gid)]
        return [
            *("-c", RUN, "-n", "--pidfile=", *ids, "interceptor", "-m", "regular@127.0.0.1:0"),
            *("-s", str(self.script), "--set", f"confdir={self.confdir}"),
        ]

    def packages(self) -> str:
        # The standard library is each interpreter's own.
        packages = [path for path in sys.path if path.endswith("-packages")]
        return os.pathsep.join([str(CHECKOUT), *packages])

    async def test_it_serves_without_privileges(self):
        from twisted.internet.threads import deferToThread

        os.chown(self.confdir, self.user.pw_uid, self.user.pw_gid)
        origin = await self.listen(Factory.forProtocol(Answering))
        process = self.start_process(interpreter(), *self.words(), PYTHONPATH=self.packages())
        await process.until(
            lambda p: re.search(rb"listening: .*\n", p.out) is not None and b"stays that" in p.out
        )
        uid, gid = self.user.pw_uid, self.user.pw_gid
        self.assertIn(f"the proxy is {uid} {uid} {gid} [{gid}]".encode(), process.out)
        line = process.out[process.out.index(b"listening: ") :]
        port = parse_listening(line)[0].port

        def ask() -> bytes:
            with connected(port) as client:
                client.sendall(get(origin.port))
                return read_until(client, b"ok")[0]

        self.assertEqual(await deferToThread(ask), OK)
        key = (self.confdir / "interceptor-ca.pem").stat()
        self.assertEqual((key.st_uid, stat.S_IMODE(key.st_mode)), (uid, 0o600))
        process.signal(15)
        await process.ended(STOP_TIMEOUT)

    async def test_files_that_only_root_can_read_end_it(self):
        ended = await self.run_program(interpreter(), *self.words(), PYTHONPATH=self.packages())
        self.assertEqual(ended.status, 1)
        said = ended.out + ended.err
        self.assertIn(b"the proxy could not start: ", said)
        self.assertIn(str(self.confdir).encode(), said)
