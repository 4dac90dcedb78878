import hashlib
from pathlib import Path

from interceptor import ctx
from interceptor.script import concurrent


@concurrent
def response(flow):
    """Keep each body in a file that is named after its digest."""
    content = flow.response.content
    if content:
        name = hashlib.sha256(content).hexdigest()
        Path(ctx.args[1], name).write_bytes(content)
