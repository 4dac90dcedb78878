"""A PostgreSQL server of one's own, with TLS and passwords, for the time of a test."""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
from pathlib import Path

from twisted.trial.unittest import SkipTest

from tests.functional.harness import FunctionalTestCase
from tests.functional.origins import TLSMaterial, free_port

USER, PASSWORD = "anna", "secret"


def _programs() -> Path:
    """Where the programs of the server are: distributions keep them off the search path."""
    found = [Path(place).parent for place in (shutil.which("initdb"),) if place]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not found:
        raise SkipTest("PostgreSQL is not installed")
    return found[-1]


async def start_postgresql(case: FunctionalTestCase, material: TLSMaterial) -> int:
    """Start a server for `USER`, who signs in by SCRAM over TLS; return its port.

    It does not run as root, so root runs it as the user that its package has made.
    """
    programs = _programs()
    # Below a test's own directory another user may not be able to come.
    folder = Path(tempfile.mkdtemp(prefix="interceptor-postgresql-"))
    case.addCleanup(shutil.rmtree, folder, ignore_errors=True)
    (folder / "password").write_text(PASSWORD)
    shutil.copy(material.certificate_file, folder / "server.crt")
    shutil.copy(material.key_file, folder / "server.key")
    (folder / "server.key").chmod(0o600)
    as_user: tuple[str, ...] = ()
    if os.getuid() == 0:
        setpriv = shutil.which("setpriv")
        try:
            user = pwd.getpwnam("postgres")
        except KeyError:
            raise SkipTest("there is no user who could run PostgreSQL") from None
        if setpriv is None:
            raise SkipTest("setpriv is not installed")
        for path in (folder, *folder.iterdir()):
            os.chown(path, user.pw_uid, user.pw_gid)
        groups = (f"--regid={user.pw_gid}", "--clear-groups")
        as_user = (setpriv, f"--reuid={user.pw_uid}", *groups, "--")
    data = folder / "data"
    await case.check_program(
        *(*as_user, str(programs / "initdb"), "--pgdata", str(data), "--username", USER),
        *("--pwfile", str(folder / "password"), "--auth-host", "scram-sha-256"),
        *("--auth-local", "reject", "--encoding", "UTF8", "--no-sync", "--no-instructions"),
        cwd=folder,
        HOME=str(folder),
    )
    port = free_port()
    server = (
        *(*as_user, str(programs / "postgres"), "-D", str(data), "-p", str(port)),
        *("-h", "127.0.0.1", "-k", "", "-F", "-c", "ssl=on"),
        *("-c", f"ssl_cert_file={folder / 'server.crt'}"),
        *("-c", f"ssl_key_file={folder / 'server.key'}"),
    )
    process = case.start_process(*server, HOME=str(folder))
    await process.until(lambda process: b"ready to accept connections" in process.err)
    return port
