class Count:
    observes_only = True

    def __init__(self):
        self.flows = 0

    def response(self, flow):
        self.flows += 1


class Mark:
    def requestheaders(self, flow):
        flow.marked = "api" if flow.request.path.startswith("/api/") else ""


addons = [Count(), Mark()]
