"""The variables that a command gets."""

from __future__ import annotations

import shlex
from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from interceptor.launch.environment import (
    BUNDLE_VARIABLES,
    Setting,
    command_environment,
    inherited_bundles,
)

SETTING = Setting("127.0.0.1", 4711, "/t/bundle.pem", "/t/store.p12", "/t/wgetrc", "/n/proxy.cjs")
URL = "http://127.0.0.1:4711"


class CommandEnvironmentTests(SynchronousTestCase):
    def test_the_proxy_in_upper_and_lower_case(self):
        made = command_environment({"https_proxy": "http://elsewhere", "HOME": "/h"}, SETTING)
        for name in ("http_proxy", "https_proxy", "all_proxy", "ws_proxy", "wss_proxy"):
            self.assertEqual((made[name], made[name.upper()]), (URL, URL))
        self.assertEqual(made["HOME"], "/h")

    def test_an_address_of_version_6(self):
        made = command_environment({}, replace(SETTING, host="::1"))
        self.assertEqual(made["http_proxy"], "http://[::1]:4711")
        self.assertIn("-Dhttps.proxyHost=::1", made["JAVA_TOOL_OPTIONS"].split())

    def test_who_the_command_is(self):
        setting = replace(SETTING, credentials=("anna", "a:b@c/ü"))
        made = command_environment({"INTERCEPTOR_PROXYAUTH": "anna:secret"}, setting)
        self.assertEqual(made["http_proxy"], "http://anna:a%3Ab%40c%2F%C3%BC@127.0.0.1:4711")
        self.assertNotIn("INTERCEPTOR_PROXYAUTH", made)

    def test_the_bundle(self):
        made = command_environment({}, SETTING)
        for name in (
            "AWS_CA_BUNDLE",
            "CARGO_HTTP_CAINFO",
            "CURL_CA_BUNDLE",
            "DENO_CERT",
            "GIT_SSL_CAINFO",
            "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
            "NODE_EXTRA_CA_CERTS",
            "PIP_CERT",
            "REQUESTS_CA_BUNDLE",
            "SSL_CERT_FILE",
        ):
            self.assertEqual(made[name], "/t/bundle.pem")

    def test_what_is_cleared(self):
        inherited = {
            "NO_PROXY": "*",
            "no_proxy": "localhost",
            "No_Proxy": "a",
            "INTERCEPTOR_CA_PASSPHRASE": "secret",
            "INTERCEPTOR_CONFDIR": "/c",
        }
        made = command_environment(inherited, SETTING)
        self.assertEqual([name for name in made if name.lower() == "no_proxy"], [])
        self.assertNotIn("INTERCEPTOR_CA_PASSPHRASE", made)
        self.assertEqual(made["INTERCEPTOR_CONFDIR"], "/c")

    def test_what_is_inherited_stays_as_it_is(self):
        inherited = {"NO_PROXY": "*"}
        command_environment(inherited, SETTING)
        self.assertEqual(inherited, {"NO_PROXY": "*"})

    def test_java(self):
        made = command_environment({"JAVA_TOOL_OPTIONS": "-Da=b"}, SETTING)
        options = made["JAVA_TOOL_OPTIONS"].split()
        self.assertEqual(options[0], "-Da=b")
        for option in (
            "-Dhttp.proxyHost=127.0.0.1",
            "-Dhttp.proxyPort=4711",
            "-Dhttps.proxyHost=127.0.0.1",
            "-Dhttps.proxyPort=4711",
            "-Dhttp.nonProxyHosts=",
            "-Djavax.net.ssl.trustStore=/t/store.p12",
            "-Djavax.net.ssl.trustStorePassword=",
        ):
            self.assertIn(option, options[1:])

    def test_paths_with_spaces(self):
        setting = replace(SETTING, trust_store="/my t/it's", node_module='/my n/"p".cjs')
        made = command_environment({}, setting)
        self.assertIn(
            "-Djavax.net.ssl.trustStore=/my t/it's", shlex.split(made["JAVA_TOOL_OPTIONS"])
        )
        self.assertEqual(made["NODE_OPTIONS"], '--require="/my n/\\"p\\".cjs"')

    def test_node(self):
        made = command_environment({"NODE_OPTIONS": "--no-warnings"}, SETTING)
        self.assertEqual(made["NODE_OPTIONS"], "--no-warnings --require=/n/proxy.cjs")
        self.assertEqual(made["NODE_USE_ENV_PROXY"], "1")

    def test_git(self):
        made = command_environment({}, SETTING)
        self.assertEqual(made["GIT_CONFIG_COUNT"], "1")
        self.assertEqual(
            (made["GIT_CONFIG_KEY_0"], made["GIT_CONFIG_VALUE_0"]), ("http.proxy", URL)
        )

    def test_git_that_was_configured_already(self):
        inherited = {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "user.name",
            "GIT_CONFIG_VALUE_0": "a",
        }
        made = command_environment(inherited, SETTING)
        self.assertEqual((made["GIT_CONFIG_COUNT"], made["GIT_CONFIG_KEY_0"]), ("2", "user.name"))
        self.assertEqual(made["GIT_CONFIG_KEY_1"], "http.proxy")

    def test_what_git_would_refuse_stays(self):
        made = command_environment({"GIT_CONFIG_COUNT": "many"}, SETTING)
        self.assertEqual(made["GIT_CONFIG_COUNT"], "many")


class InheritedBundleTests(SynchronousTestCase):
    def test_files_that_are_there_each_once(self):
        path = self.mktemp()
        open(path, "w").close()
        inherited = dict.fromkeys(BUNDLE_VARIABLES, path)
        inherited.update(PIP_CERT="/nonexistent", DENO_CERT="")
        self.assertEqual(inherited_bundles(inherited), [path])
        self.assertEqual(inherited_bundles({}), [])
