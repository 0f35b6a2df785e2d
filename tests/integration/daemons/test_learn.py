"""Daemons of Debian that nothing here was made for: what holds for the twelve cases holds for them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.workshop import Workshop

pytestmark = [pytest.mark.root, pytest.mark.strace, pytest.mark.namespaces]


@dataclass(frozen=True)
class Daemon:
    """A service: its packages, its target file, and what has to be learned, among other things."""

    packages: tuple[str, ...]
    text: str
    learned: tuple[str, ...]


DAEMONS = {
    "modules named in a configuration, a helper script": Daemon(
        ("lighttpd", "curl"),
        """
binaries = ["/usr/sbin/lighttpd"]
[text]
"/srv/ct/l/lighttpd.conf" = \"\"\"
server.modules = ("mod_access", "mod_accesslog")
server.port = 24301
server.bind = "127.0.0.1"
server.document-root = "/srv/ct/l/www"
server.username = "www-data"
server.groupname = "www-data"
accesslog.filename = "/var/log/lighttpd/access.log"
include_shell "/usr/share/lighttpd/create-mime.conf.pl"
index-file.names = ("index.html")
\"\"\"
"/srv/ct/l/www/index.html" = "<p>hello</p>"
"/srv/ct/l/www/a.css" = "p{}"
[check.service]
start = ["/usr/sbin/lighttpd", "-D", "-f", "/srv/ct/l/lighttpd.conf"]
ready = "tcp:127.0.0.1:24301"
probe = [
  "curl -sf http://127.0.0.1:24301/ | grep -q hello",
  "curl -sfI http://127.0.0.1:24301/a.css | grep -qi 'content-type: text/css'",
]
""",
        ('"/usr/share/lighttpd/create-mime.conf.pl"', '"/usr/lib/lighttpd/mod_accesslog.so"', '"www-data"'),
    ),
    "no file at all, an account": Daemon(
        ("memcached",),
        r"""
binaries = ["/usr/bin/memcached"]
[check.service]
start = ["/usr/bin/memcached", "-u", "memcache", "-l", "127.0.0.1", "-p", "24302"]
ready = "tcp:127.0.0.1:24302"
probe = ['''
exec 3<>/dev/tcp/127.0.0.1/24302
printf "set k 0 9 1\r\nv\r\nget k\r\nquit\r\n" >&3
grep -q "^VALUE k 0 1" <&3''']
""",
        ('"memcache"',),
    ),
    "datagrams, a supplementary group": Daemon(
        ("dnsmasq-base", "bind9-dnsutils"),
        """
binaries = ["/usr/sbin/dnsmasq"]
[text]
"/srv/ct/d/hosts" = "192.0.2.9 www.ct.test\\n"
[check.service]
start = ["/usr/sbin/dnsmasq", "-k", "-C", "/dev/null", "-p", "24303", "-a", "127.0.0.1", "-z", "-h",
         "-H", "/srv/ct/d/hosts", "-u", "dnsmasq", "--log-facility=-"]
ready = "udp:127.0.0.1:24303"
probe = ["test \\"$(dig +short +tries=1 +time=2 @127.0.0.1 -p 24303 www.ct.test A)\\" = 192.0.2.9"]
""",
        ('"dnsmasq"', '"dip"', '"null"'),
    ),
    "a daemon that makes a directory its root": Daemon(
        ("vsftpd", "curl"),
        """
binaries = ["/usr/sbin/vsftpd"]
[text]
"/srv/ct/v/vsftpd.conf" = \"\"\"
listen=YES
background=NO
listen_address=127.0.0.1
listen_port=24304
anonymous_enable=YES
anon_root=/srv/ct/v/pub
seccomp_sandbox=NO
isolate_network=NO
\"\"\"
"/srv/ct/v/pub/hello.txt" = "hello\\n"
[check.service]
start = ["/usr/sbin/vsftpd", "/srv/ct/v/vsftpd.conf"]
ready = "tcp:127.0.0.1:24304"
probe = ["curl -sf ftp://127.0.0.1:24304/hello.txt | grep -q hello"]
""",
        ('"/var/run/vsftpd/empty"', '"ftp"'),
    ),
    "directories that the system makes at a start": Daemon(
        ("haproxy", "curl"),
        """
binaries = ["/usr/sbin/haproxy"]
[text]
"/srv/ct/h/haproxy.cfg" = \"\"\"
global
  chroot /var/lib/haproxy
  user haproxy
  group haproxy
  stats socket /run/haproxy/admin.sock mode 660 level admin
defaults
  mode http
  timeout connect 1s
  timeout client 5s
  timeout server 5s
  errorfile 503 /etc/haproxy/errors/503.http
frontend f
  bind 127.0.0.1:24305
  http-request return status 200 content-type text/plain string hello if { path / }
  default_backend none
backend none
\"\"\"
[check.service]
start = ["/usr/sbin/haproxy", "-db", "-f", "/srv/ct/h/haproxy.cfg"]
ready = "tcp:127.0.0.1:24305"
probe = ["curl -sf http://127.0.0.1:24305/ | grep -q hello", "curl -s http://127.0.0.1:24305/x | grep -q 503"]
""",
        ('"/run/haproxy"', '"/var/lib/haproxy"', '"/etc/haproxy/errors/503.http"'),
    ),
    "libtool modules, plugins of a library": Daemon(
        ("slapd", "curl"),
        """
binaries = ["/usr/sbin/slapd"]
[directories]
"/srv/ct/s/db" = { mode = "0700", owner = "openldap", group = "openldap" }
[text]
"/srv/ct/s/slapd.conf" = \"\"\"
include /etc/ldap/schema/core.schema
modulepath /usr/lib/ldap
moduleload back_mdb
database mdb
suffix "dc=ct,dc=test"
directory /srv/ct/s/db
\"\"\"
[check.service]
start = ["/usr/sbin/slapd", "-d", "0", "-f", "/srv/ct/s/slapd.conf", "-h", "ldap://127.0.0.1:24306/",
         "-u", "openldap", "-g", "openldap"]
ready = "tcp:127.0.0.1:24306"
probe = ["curl -s 'ldap://127.0.0.1:24306/?namingContexts?base' | grep -q 'dc=ct,dc=test'"]
""",
        ('"/usr/lib/ldap/back_mdb.la"', '"/etc/ldap/schema/core.schema"', '"openldap"'),
    ),
}


def _daemon(name: str) -> object:
    return pytest.param(name, marks=pytest.mark.package(*DAEMONS[name].packages))


@pytest.mark.parametrize("name", [_daemon(name) for name in DAEMONS])
def test_a_daemon_is_learned(name: str, tmp_path: Path) -> None:
    daemon = DAEMONS[name]
    shop = Workshop(tmp_path / "project", Path("/"))
    shop.write_targets({"x.toml": daemon.text})
    assert shop.run("learn", "x").splitlines()[-1] == "x  serves"
    learned = (shop.folder / "targets/x.learned.toml").read_text()
    assert [path for path in daemon.learned if path not in learned] == []
    assert "x  serves" in shop.run("check", "x")
    assert not (shop.root / "etc/shadow").exists()
