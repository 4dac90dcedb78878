import sys

from interceptor import http


class Filter:
    def __init__(self, host):
        self.host = host

    def request(self, flow):
        if flow.request.pretty_host == self.host:
            flow.response = http.HTTPResponse.make(418, b"a teapot", {"Content-Type": "text/plain"})


def start():
    return Filter(sys.argv[1])
