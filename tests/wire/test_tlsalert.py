"""Alerts: their bytes, which OpenSSL has to understand, and their names."""

from __future__ import annotations

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from interceptor.wire.tlsalert import ALERTS, alert_name, alert_record, describe_alert


class RecordTests(SynchronousTestCase):
    """`alert_record`."""

    def test_bytes(self):
        self.assertEqual(alert_record(48), bytes.fromhex("15 03 03 00 02 02 30"))
        self.assertEqual(alert_record(0, 0x0301, fatal=False), bytes.fromhex("15030100020100"))

    def test_a_record_never_says_tls_1_3(self):
        self.assertEqual(alert_record(40, 0x0304)[1:3], b"\x03\x03")
        self.assertEqual(alert_record(40, 0)[1:3], b"\x03\x00")

    def test_openssl_understands_it(self):
        for number, expected in ((48, "unknown ca"), (40, "handshake failure"), (112, "name")):
            client = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
            client.set_connect_state()
            self.assertRaises(SSL.WantReadError, client.do_handshake)
            client.bio_write(alert_record(number))
            error = self.assertRaises(SSL.Error, client.do_handshake)
            self.assertIn(expected, error.args[0][0][2])


class NameTests(SynchronousTestCase):
    """`alert_name` and `describe_alert`."""

    def test_known(self):
        self.assertEqual(
            (alert_name(42), alert_name(46)), ("bad_certificate", "certificate_unknown")
        )
        self.assertEqual(
            describe_alert(48), "unknown_ca (48): the issuer of the certificate is not trusted"
        )

    def test_unknown(self):
        self.assertEqual(alert_name(99), "alert_99")
        self.assertEqual(describe_alert(99), "alert 99, which no standard names")

    def test_the_table(self):
        self.assertEqual(len(set(ALERTS.values())), len(ALERTS))
        self.assertTrue(all(name.replace("_", "").isalnum() for name in ALERTS.values()))
