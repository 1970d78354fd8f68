#!/usr/bin/env bash
# Presidio's e-mail recogniser asks two web servers when it sees its first address.
#
# Version: presidio_analyzer 2.2.366, tldextract 5.4.0
# Seen:    `EmailRecognizer().analyze("... jane@example.com")` with an empty cache requests the public suffix list
#          from publicsuffix.org and, when that fails, from GitHub. With neither it logs both failures and takes the
#          list inside tldextract. The address is found either way.
# Matters: a job on personal data that must run offline opens connections in every fresh container. A subclass whose
#          `validate_result` asks `tldextract.TLDExtract(suffix_list_urls=())` needs the bundled list only.
set -euo pipefail

packages=$(mktemp -d)
trap 'rm -rf "$packages"' EXIT
cd "$packages"
python3 -m pip install -qq --target . presidio_analyzer==2.2.366 tldextract==5.4.0

TLDEXTRACT_CACHE=$packages/cache python3 - <<'PYTHON'
import logging
import sys
from importlib.metadata import version

import requests

logging.disable(logging.CRITICAL)
hosts = []


def offline(session, request, **settings):
    hosts.append(request.url.split("/")[2])
    raise requests.ConnectionError("no network here")


requests.Session.send = offline
from presidio_analyzer.predefined_recognizers import EmailRecognizer

found = EmailRecognizer().analyze("Please write to jane@example.com", ["EMAIL_ADDRESS"], None)
print(f"presidio_analyzer {version('presidio_analyzer')}: asked {hosts}, addresses found: {len(found)}")
as_described = hosts == ["publicsuffix.org", "raw.githubusercontent.com"] and len(found) == 1
print("as described" if as_described else "changed")
sys.exit(not as_described)
PYTHON
