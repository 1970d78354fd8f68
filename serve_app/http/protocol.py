"""HTTP/1.1 on one connection: uvicorn's protocol on httptools, which declines every upgrade.

Output contract: a request that offers an upgrade (`Upgrade: h2c`, as the JDK's HttpClient and `curl --http2` send it)
is answered over HTTP/1.1 as if it did not, its body included. What is no HTTP is a 400 in the error envelope with a
request id. A request without an upgrade costs no more than with uvicorn's own class.
This module knows no routes.
"""

from __future__ import annotations

import json

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serve_app import errors
from serve_app.observe.request import new_id


class Protocol(HttpToolsProtocol):
    """See the module.

    After the head of a request with an upgrade the parser takes whatever follows for another protocol, and stops. The
    head is then parsed once more, without its offer, and after it what followed.
    """

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._unset_keepalive_if_required()
        try:
            while True:
                try:
                    self.parser.feed_data(data)
                    return
                except httptools.HttpParserUpgrade as stop:
                    if self.parser.get_method() == b"CONNECT":
                        self.send_400_response("This is no proxy.")
                        return
                    data = data[stop.args[0] :]
                    self._parse_declined()
        except httptools.HttpParserError:
            self.send_400_response("The request is not HTTP/1.1.")

    def _should_upgrade(self) -> bool:
        return True  # so that uvicorn's callbacks leave such a request alone: it comes again

    def _parse_declined(self) -> None:
        """Begins a parser with the head of the present request, without its offer."""
        version = self.parser.get_http_version().encode()
        lines = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, version)]
        lines += [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self.parser.feed_data(b"\r\n".join([*lines, b"", b""]))

    def send_400_response(self, msg: str) -> None:
        """See uvicorn's; `msg` is the message."""
        if self.transport.is_closing():
            return
        body = json.dumps(errors.bad_request(msg).envelope, separators=(",", ":")).encode()
        head = (
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nx-request-id: {new_id()}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
