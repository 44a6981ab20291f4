"""acme2certifier over TLS: PORT CERTIFICATE KEY; prints the port when it listens there."""

import ssl
import sys
from wsgiref.simple_server import make_server

from acme2certifier.share.acme2certifier_wsgi import application, get_handler_cls


def at_dir(environ, start_response):
    """Tests call every directory `/dir`."""
    if environ["PATH_INFO"] == "/dir":
        environ["PATH_INFO"] = "/directory"
    return application(environ, start_response)


port, certificate, key = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
server = make_server("127.0.0.1", int(port), at_dir, handler_class=get_handler_cls())
server.socket = context.wrap_socket(server.socket, server_side=True)
server.base_environ["HTTPS"] = "on"
print(port, flush=True)
server.serve_forever()
