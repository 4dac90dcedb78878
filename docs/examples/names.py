"""Answer for some names, hide others, and shorten how long answers are kept."""

from interceptor import dns


def dns_request(flow):
    name = flow.request.name.lower()
    if name == "api.example.com":
        flow.response = dns.Response.make(flow.request, ["127.0.0.1", "::1"])
    elif name == "ads.example" or name.endswith(".ads.example"):
        flow.response = dns.Response.make(flow.request, rcode="NXDOMAIN")


def dns_response(flow):
    for record in flow.response.answers:
        record.ttl = min(record.ttl, 30)
