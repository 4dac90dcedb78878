from interceptor import redis


def redis_command(flow):
    command = flow.message
    if command.name in ("FLUSHALL", "FLUSHDB", "SHUTDOWN"):
        command.answer(redis.ErrorReply(b"NOPERM not through this proxy"))
    elif command.name == "GET" and command.arguments[1].startswith(b"flag:"):
        command.arguments[1] = command.arguments[1].replace(b"flag:", b"staging:flag:")


def redis_reply(flow):
    reply = flow.message
    if reply.command is not None and reply.command.name == "TTL":
        reply.value = -1
