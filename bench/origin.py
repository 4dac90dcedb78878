"""The server behind every proxy: nginx where it is installed, else one in Python."""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.certificates import Certificates
from bench.errors import BenchError
from bench.processes import Process, free_port

# Debian keeps servers in /usr/sbin, which is not on everybody's PATH.
SERVER_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"))

_NGINX_CONF = """\
daemon off;
master_process off;
pid {workdir}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 100000000;
    keepalive_timeout 1h;
    open_file_cache max=16 inactive=1h;
    open_file_cache_valid 1h;
    client_body_temp_path {workdir}/nginx-body;
    proxy_temp_path {workdir}/nginx-proxy;
    fastcgi_temp_path {workdir}/nginx-fastcgi;
    uwsgi_temp_path {workdir}/nginx-uwsgi;
    scgi_temp_path {workdir}/nginx-scgi;
    root {workdir}/www;
    ssl_certificate {certificates.chain};
    ssl_certificate_key {certificates.key};
    ssl_protocols TLSv1.2 TLSv1.3;
    server {{
        listen 127.0.0.1:{ports.plain} backlog=4096;
        location = /taken {{ return 200 "taken"; }}
    }}
    server {{
        listen 127.0.0.1:{ports.tls} ssl backlog=4096;
        ssl_session_cache off;
        ssl_session_tickets off;
    }}
    server {{
        listen 127.0.0.1:{ports.resumable} ssl backlog=4096;
        ssl_session_cache shared:bench:4m;
        ssl_session_tickets on;
    }}
    server {{
        listen 127.0.0.1:{ports.http2} ssl http2 backlog=4096;
        http2_max_concurrent_streams 256;
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Ports:
    """Where one origin serves the same: ``plain``, over TLS, over TLS that can be resumed.

    On ``http2`` nginx speaks HTTP/2 over TLS; the origin in Python is not there.
    """

    plain: int
    tls: int
    resumable: int
    http2: int

    @classmethod
    def free(cls) -> Ports:
        """Take ports of loopback that nobody listens on."""
        found: set[int] = set()
        while len(found) < 4:
            found.add(free_port())
        return cls(*found)


@dataclass(frozen=True, slots=True)
class Origin:
    """A running origin: ``GET /NAME`` gives as many bytes as its ``sizes`` say."""

    kind: str
    ports: Ports
    sizes: Mapping[str, int]
    process: Process

    @property
    def port(self) -> int:
        """The port without TLS."""
        return self.ports.plain


def start_origin(
    sizes: Mapping[str, int],
    certificates: Certificates,
    workdir: Path,
    core: int | None,
    environment: Mapping[str, str],
) -> Origin:
    """Start an origin that serves ``sizes``; the caller stops its process.

    :raises BenchError: if it does not come up.
    """
    nginx = shutil.which("nginx", path=SERVER_PATH)
    try:
        if nginx is None:
            return _start_python(sizes, certificates, workdir, core, environment)
        return _start_nginx(nginx, sizes, certificates, workdir, core, environment)
    except BenchError as problem:
        raise BenchError(f"origin: {problem}") from problem


def _start_python(
    sizes: Mapping[str, int],
    certificates: Certificates,
    workdir: Path,
    core: int | None,
    environment: Mapping[str, str],
) -> Origin:
    ports = Ports.free()
    named = [f"{name}={size}" for name, size in sizes.items()]
    command = [sys.executable, "-m", "bench.pyorigin", str(certificates.chain)]
    command += [str(certificates.key), *map(str, dataclasses.astuple(ports)), *named]
    process = Process("origin", command, core, workdir, environment)
    process.wait_for_line()
    return Origin("Python (no nginx found)", ports, sizes, process)


def _start_nginx(
    program: str,
    sizes: Mapping[str, int],
    certificates: Certificates,
    workdir: Path,
    core: int | None,
    environment: Mapping[str, str],
) -> Origin:
    content = workdir / "www"
    content.mkdir()
    for name, size in sizes.items():
        with (content / name).open("wb") as file:
            file.truncate(size)  # sparse: a gigabyte costs no disk
    ports = Ports.free()
    configuration = workdir / "nginx.conf"
    configuration.write_text(
        _NGINX_CONF.format(workdir=workdir, ports=ports, certificates=certificates)
    )
    command = [program, "-c", str(configuration), "-p", str(workdir), "-e", "stderr"]
    process = Process("origin", command, core, workdir, environment)
    process.wait_for_port(ports.plain)
    return Origin("nginx", ports, sizes, process)
