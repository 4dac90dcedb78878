def smtp_command(flow):
    command = flow.message
    if command.verb == "RCPT" and not command.argument.lower().endswith("@example.test>"):
        command.answer(550, "5.7.1 nobody outside of this lab")


def smtp_mail(flow):
    mail = flow.message.email
    mail["X-Lab"] = f"from {flow.message.sender} to {len(flow.message.recipients)}"
    flow.message.email = mail
