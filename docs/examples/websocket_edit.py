def websocket_message(flow):
    message = flow.websocket.messages[-1]
    if message.injected:
        return
    if message.is_text and message.from_client:
        message.text = message.text.replace("secret", "******")
    elif message.type == "binary":
        message.drop()
        flow.websocket.inject(not message.from_client, "something binary was left out")
