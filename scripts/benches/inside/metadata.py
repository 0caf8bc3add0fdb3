"""A metadata server that knows one startup script: `metadata.py SCRIPT`. It serves until it is ended."""

import http.server
import json
import sys


class Metadata(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with open(sys.argv[1]) as script:
            attributes = {"startup-script": "#!/bin/bash\n" + script.read()}
        whole = {"instance": {"attributes": attributes, "id": 1}, "project": {"attributes": {}}}
        answer = json.dumps(attributes if "attributes" in self.path else whole).encode()
        self.send_response(200)
        for name, value in (("Metadata-Flavor", "Google"), ("Etag", "1"), ("Content-Length", len(answer))):
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("169.254.169.254", 80), Metadata).serve_forever()
