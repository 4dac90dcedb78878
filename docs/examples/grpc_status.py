from interceptor import ctx


def response(flow):
    status = flow.response.grpc_status
    if status:
        ctx.log.warn(f"{flow.request.path} failed with gRPC status {status}")
