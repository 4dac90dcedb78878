"""The server behind every proxy: nginx where it is installed, else one in Python."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError
from bench.processes import Process, free_port

# Debian keeps servers in /usr/sbin, which is not on everybody's PATH.
SERVER_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"))

_NGINX_CONF = """\
daemon off;
master_process off;
pid {workdir}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 100000000;
    open_file_cache max=16 inactive=1h;
    open_file_cache_valid 1h;
    client_body_temp_path {workdir}/nginx-body;
    proxy_temp_path {workdir}/nginx-proxy;
    fastcgi_temp_path {workdir}/nginx-fastcgi;
    uwsgi_temp_path {workdir}/nginx-uwsgi;
    scgi_temp_path {workdir}/nginx-scgi;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        root {workdir}/www;
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Origin:
    """A running origin: ``GET /NAME`` gives as many bytes as its ``sizes`` say."""

    kind: str
    port: int
    sizes: Mapping[str, int]
    process: Process


def start_origin(
    sizes: Mapping[str, int], workdir: Path, core: int | None, environment: Mapping[str, str]
) -> Origin:
    """Start an origin that serves ``sizes``; the caller stops its process.

    :raises BenchError: if it does not come up.
    """
    nginx = shutil.which("nginx", path=SERVER_PATH)
    try:
        if nginx is None:
            return _start_python(sizes, workdir, core, environment)
        return _start_nginx(nginx, sizes, workdir, core, environment)
    except BenchError as problem:
        raise BenchError(f"origin: {problem}") from problem


def _start_python(
    sizes: Mapping[str, int], workdir: Path, core: int | None, environment: Mapping[str, str]
) -> Origin:
    named = [f"{name}={size}" for name, size in sizes.items()]
    command = [sys.executable, "-m", "bench.pyorigin", *named]
    process = Process("origin", command, core, workdir, environment)
    return Origin("Python (no nginx found)", process.wait_for_line(), sizes, process)


def _start_nginx(
    program: str,
    sizes: Mapping[str, int],
    workdir: Path,
    core: int | None,
    environment: Mapping[str, str],
) -> Origin:
    content = workdir / "www"
    content.mkdir()
    for name, size in sizes.items():
        with (content / name).open("wb") as file:
            file.truncate(size)  # sparse: a gigabyte costs no disk
    port = free_port()
    configuration = workdir / "nginx.conf"
    configuration.write_text(_NGINX_CONF.format(workdir=workdir, port=port))
    command = [program, "-c", str(configuration), "-p", str(workdir), "-e", "stderr"]
    process = Process("origin", command, core, workdir, environment)
    process.wait_for_port(port)
    return Origin("nginx", port, sizes, process)
