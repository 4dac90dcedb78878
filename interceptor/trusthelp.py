"""How to make systems and programs trust the authority: the instructions, as data.

The command line and the page in the browser both show them. Texts and commands hold placeholders,
which `Files.fill` replaces: ``{pem}``, ``{cer}`` and ``{p12}`` for the files with the certificate,
``{name}`` for its common name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["system", "program", "device"]


@dataclass(frozen=True, slots=True)
class Step:
    """One sentence or more, and the commands that do what it says, a line each."""

    text: str
    commands: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Guide:
    """How one platform or program is told to trust the authority, and to stop that.

    ``key`` is its short name, ``aliases`` are others; ``kind`` tells whether it is about a whole
    system, one program, or a phone. ``file`` is the format it takes: ``pem``, ``cer`` or ``p12``.
    """

    key: str
    title: str
    kind: Kind
    file: Literal["pem", "cer", "p12"]
    install: tuple[Step, ...]
    remove: tuple[Step, ...] = ()
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Files:
    """What stands for the placeholders: paths, quoted for the shell if need be, and the name."""

    pem: str = "interceptor-ca-cert.pem"
    cer: str = "interceptor-ca-cert.cer"
    p12: str = "interceptor-ca-cert.p12"
    name: str = "interceptor CA"

    def fill(self, text: str) -> str:
        """Give a text or command of a `Step` with its placeholders replaced."""
        for placeholder in ("pem", "cer", "p12", "name"):
            text = text.replace(f"{{{placeholder}}}", getattr(self, placeholder))
        return text


_REPLACES_ROOTS = (
    "The variable replaces the roots that were trusted before: hosts that the proxy passes through "
    "untouched are then refused. `interceptor run -- COMMAND` sets it to a file with both."
)

GUIDES: Final[tuple[Guide, ...]] = (
    Guide(
        "debian",
        "Debian, Ubuntu and derivatives",
        "system",
        "pem",
        (
            Step(
                "Put the certificate where the system looks for it; its name has to end in .crt.",
                (
                    "sudo cp {pem} /usr/local/share/ca-certificates/interceptor-ca.crt",
                    "sudo update-ca-certificates",
                ),
            ),
        ),
        (
            Step(
                "Delete the file and make the list anew.",
                (
                    "sudo rm /usr/local/share/ca-certificates/interceptor-ca.crt",
                    "sudo update-ca-certificates --fresh",
                ),
            ),
        ),
        ("ubuntu", "mint", "raspbian"),
    ),
    Guide(
        "fedora",
        "Fedora, Red Hat Enterprise Linux and derivatives",
        "system",
        "pem",
        (
            Step(
                "Put the certificate among the anchors.",
                (
                    "sudo cp {pem} /etc/pki/ca-trust/source/anchors/interceptor-ca.pem",
                    "sudo update-ca-trust",
                ),
            ),
        ),
        (
            Step(
                "Delete the file and make the list anew.",
                (
                    "sudo rm /etc/pki/ca-trust/source/anchors/interceptor-ca.pem",
                    "sudo update-ca-trust",
                ),
            ),
        ),
        ("rhel", "centos", "rocky", "almalinux", "amzn"),
    ),
    Guide(
        "arch",
        "Arch Linux and derivatives",
        "system",
        "pem",
        (Step("Store the certificate as an anchor.", ("sudo trust anchor --store {pem}",)),),
        (Step("Take the anchor away.", ("sudo trust anchor --remove {pem}",)),),
        ("manjaro",),
    ),
    Guide(
        "alpine",
        "Alpine Linux",
        "system",
        "pem",
        (
            Step(
                "As root: install the tool, put the certificate where it looks, and run it.",
                (
                    "apk add ca-certificates",
                    "cp {pem} /usr/local/share/ca-certificates/interceptor-ca.crt",
                    "update-ca-certificates",
                ),
            ),
        ),
        (
            Step(
                "As root: delete the file and make the list anew.",
                (
                    "rm /usr/local/share/ca-certificates/interceptor-ca.crt",
                    "update-ca-certificates --fresh",
                ),
            ),
        ),
    ),
    Guide(
        "macos",
        "macOS",
        "system",
        "pem",
        (
            Step(
                "Add the certificate to the system's keychain as a trusted root. Safari, Chrome "
                "and curl follow it.",
                (
                    "sudo security add-trusted-cert -d -r trustRoot "
                    "-k /Library/Keychains/System.keychain {pem}",
                ),
            ),
        ),
        (
            Step(
                "Take it out of the keychain.",
                (
                    "sudo security delete-certificate -c '{name}' "
                    "/Library/Keychains/System.keychain",
                ),
            ),
        ),
        ("mac", "osx", "darwin"),
    ),
    Guide(
        "windows",
        "Windows",
        "system",
        "cer",
        (
            Step(
                "In a command prompt, add the certificate to your own trusted roots, and confirm. "
                "Leave -user out, as an administrator, to do it for the whole machine. Edge and "
                "Chrome follow it.",
                ("certutil -user -addstore Root {cer}",),
            ),
        ),
        (Step("Take it away again.", ('certutil -user -delstore Root "{name}"',)),),
        ("win32",),
    ),
    Guide(
        "firefox",
        "Firefox",
        "program",
        "pem",
        (
            Step(
                "Open Settings, Privacy & Security, Certificates, View Certificates, Authorities, "
                "Import. Choose {pem} and tick “Trust this CA to identify websites”."
            ),
            Step(
                "Or trust the system's store: set security.enterprise_roots.enabled to true in "
                "about:config, which is the default on Windows and macOS."
            ),
        ),
        (Step("Choose {name} in the same list, then Delete or Distrust."),),
    ),
    Guide(
        "nss",
        "Chromium and Chrome on Linux, and other programs with an NSS database",
        "program",
        "pem",
        (
            Step(
                "Make the database if there is none (certutil is in the package libnss3-tools or "
                "nss-tools), and add the certificate.",
                (
                    "mkdir -p ~/.pki/nssdb",
                    "[ -e ~/.pki/nssdb/cert9.db ] || "
                    "certutil -d sql:$HOME/.pki/nssdb -N --empty-password",
                    "certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n interceptor -i {pem}",
                ),
            ),
        ),
        (
            Step(
                "Take it out of the database.",
                ("certutil -d sql:$HOME/.pki/nssdb -D -n interceptor",),
            ),
        ),
        ("chromium", "chrome"),
    ),
    Guide(
        "java",
        "Java",
        "program",
        "pem",
        (
            Step(
                "Import the certificate into the trust store of the Java installation; its "
                "password is “changeit” unless somebody changed it.",
                (
                    "sudo keytool -importcert -noprompt -cacerts -storepass changeit "
                    "-alias interceptor -file {pem}",
                ),
            ),
            Step(
                "Or let one program trust this authority alone.",
                (
                    "java -Djavax.net.ssl.trustStore={p12} -Djavax.net.ssl.trustStoreType=PKCS12 "
                    "-Djavax.net.ssl.trustStorePassword= …",
                ),
            ),
        ),
        (
            Step(
                "Delete it from the trust store.",
                ("sudo keytool -delete -cacerts -storepass changeit -alias interceptor",),
            ),
        ),
        ("jvm", "keytool", "kotlin", "scala"),
    ),
    Guide(
        "node",
        "Node.js",
        "program",
        "pem",
        (
            Step(
                "Name the file in the environment; it is trusted besides the roots built in.",
                ("export NODE_EXTRA_CA_CERTS={pem}",),
            ),
        ),
        (Step("Unset the variable.", ("unset NODE_EXTRA_CA_CERTS",)),),
        ("nodejs", "npm"),
    ),
    Guide(
        "python",
        "Python (requests, httpx, aiohttp, pip)",
        "program",
        "pem",
        (
            Step(
                "Name the file in the environment: for requests, for what uses the module ssl, "
                f"and for pip. {_REPLACES_ROOTS}",
                (
                    "export REQUESTS_CA_BUNDLE={pem}",
                    "export SSL_CERT_FILE={pem}",
                    "export PIP_CERT={pem}",
                ),
            ),
        ),
        (Step("Unset the variables.", ("unset REQUESTS_CA_BUNDLE SSL_CERT_FILE PIP_CERT",)),),
        ("requests", "httpx", "aiohttp", "pip"),
    ),
    Guide(
        "curl",
        "curl",
        "program",
        "pem",
        (
            Step("Name the file on the command line.", ("curl --cacert {pem} https://…",)),
            Step(
                f"Or in the environment. {_REPLACES_ROOTS}",
                ("export CURL_CA_BUNDLE={pem}",),
            ),
        ),
        (Step("Unset the variable.", ("unset CURL_CA_BUNDLE",)),),
    ),
    Guide(
        "git",
        "git",
        "program",
        "pem",
        (
            Step(
                "Name the file in the configuration.", ("git config --global http.sslCAInfo {pem}",)
            ),
            Step("Or in the environment.", ("export GIT_SSL_CAINFO={pem}",)),
        ),
        (
            Step(
                "Take it out of the configuration.",
                ("git config --global --unset http.sslCAInfo",),
            ),
        ),
    ),
    Guide(
        "openssl",
        "Other programs with OpenSSL (Ruby, PHP, Perl), and Go",
        "program",
        "pem",
        (
            Step(
                f"Name the file in the environment. {_REPLACES_ROOTS}",
                ("export SSL_CERT_FILE={pem}",),
            ),
        ),
        (Step("Unset the variable.", ("unset SSL_CERT_FILE",)),),
        ("go", "golang", "ruby", "php", "perl"),
    ),
    Guide(
        "android",
        "Android",
        "device",
        "cer",
        (
            Step("Bring {cer} to the device: by the browser through the proxy, or by a cable."),
            Step(
                "Open Settings, Security, Encryption & credentials, Install a certificate, CA "
                "certificate, “Install anyway”, and choose the file. Makers name the way there "
                "differently: search the settings for “certificate”."
            ),
            Step(
                "Since Android 7 the browser trusts it, but other apps only if their network "
                'security configuration trusts user certificates (<certificates src="user"/>).'
            ),
        ),
        (
            Step(
                "Open Settings, Security, Encryption & credentials, Trusted credentials, User, "
                "choose {name}, Remove."
            ),
        ),
    ),
    Guide(
        "ios",
        "iOS and iPadOS",
        "device",
        "cer",
        (
            Step("Open {cer} in Safari through the proxy, and allow the profile to be downloaded."),
            Step("Open Settings, Profile Downloaded, and install it."),
            Step(
                "Open Settings, General, About, Certificate Trust Settings, and switch on full "
                "trust for {name}. Without this step nothing trusts it."
            ),
        ),
        (
            Step(
                "Open Settings, General, VPN & Device Management, choose the profile, Remove "
                "Profile."
            ),
        ),
        ("iphone", "ipad", "ipados"),
    ),
)
"""Every guide: systems first, then programs, then devices."""


def find_guide(name: str) -> Guide | None:
    """Give the guide of that key or alias, whatever the case of its letters."""
    word = name.lower()
    for guide in GUIDES:
        if word == guide.key or word in guide.aliases:
            return guide
    return None
