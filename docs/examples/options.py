from interceptor import ctx, exceptions


def load(loader):
    loader.add_option("greeting", str, "hello", "What the field X-Greeting says.")
    loader.add_option("greeting_pause", "duration", 0.0, "How long greeting takes.")


def configure(options, updated):
    if "greeting" in updated and "\n" in options.greeting:
        raise exceptions.OptionsError("option `greeting`: one line only")


def responseheaders(flow):
    flow.response.headers["X-Greeting"] = ctx.options.greeting
