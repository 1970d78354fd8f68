#!/usr/bin/env bash
# phonenumbers' matcher takes a region that does not exist and finds nothing; its parser raises.
#
# Version: phonenumbers 9.0.43
# Seen:    `PhoneNumberMatcher("Call 020 7946 0018", region)` yields the number for "GB" and none for "UK", "gb" or
#          "XX", without an error. `phonenumbers.parse` with "UK" raises NumberParseException (invalid country code).
# Matters: the country's everyday abbreviation or a small-letter code from a configuration file switches off every
#          number in national form, and international ones (+44 ...) still match, so nothing looks broken.
#          `phonenumbers.SUPPORTED_REGIONS` is what to check a region against.
set -euo pipefail

packages=$(mktemp -d)
trap 'rm -rf "$packages"' EXIT
cd "$packages"
python3 -m pip install -qq --target . phonenumbers==9.0.43

python3 - <<'PYTHON'
import sys

import phonenumbers

NATIONAL, INTERNATIONAL = "Call 020 7946 0018", "Call +44 20 7946 0018"


def count(text, region):
    return sum(1 for _ in phonenumbers.PhoneNumberMatcher(text, region))


counts = {region: (count(NATIONAL, region), count(INTERNATIONAL, region)) for region in ("GB", "UK", "gb", "XX")}
try:
    phonenumbers.parse("020 7946 0018", "UK")
    refused = False
except phonenumbers.NumberParseException:
    refused = True
print(f"phonenumbers {phonenumbers.__version__}: (national, international) found: {counts}; parser refuses: {refused}")
as_described = counts == {"GB": (1, 1), "UK": (0, 1), "gb": (0, 1), "XX": (0, 1)} and refused
print("as described" if as_described else "changed")
sys.exit(not as_described)
PYTHON
