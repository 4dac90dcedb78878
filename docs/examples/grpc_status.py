from interceptor import ctx


def response(flow):
    response = flow.response
    status = (response.trailers or {}).get("grpc-status") or response.headers.get("grpc-status")
    if status not in (None, "0"):
        ctx.log.warn(f"{flow.request.path} failed with gRPC status {status}")
