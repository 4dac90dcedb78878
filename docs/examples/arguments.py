from interceptor import ctx, exceptions


class SetHeader:
    def __init__(self, name, value):
        self.name_of_field, self.value = name, value

    def responseheaders(self, flow):
        flow.response.headers[self.name_of_field] = self.value


def start():
    if len(ctx.args) != 3:
        raise exceptions.OptionsError("arguments.py: expected NAME VALUE")
    return SetHeader(*ctx.args[1:])
