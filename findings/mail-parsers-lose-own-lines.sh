#!/usr/bin/env bash
# Two parsers of mail replies throw away lines that the sender wrote.
#
# Version: mail-parser-reply 1.36, email-reply-parser 0.5.12
# Seen:    in a mail without any quotation, the customer's own lines "From: Cologne / To: Berlin / The parcel needs
#          four days." are taken for the header of a quoted mail by both: "Hello," is left. "On Monday your colleague
#          wrote:" as the first line makes email-reply-parser return an empty text; mail-parser-reply keeps that one
#          whole.
# Matters: training data and ticket statistics lose the request itself, and the shortened text looks like a sound one.
#          A header block needs an address or a date before it is cut, or the lines lost need counting.
set -euo pipefail

packages=$(mktemp -d)
trap 'rm -rf "$packages"' EXIT
cd "$packages"
python3 -m pip install -qq --target . mail-parser-reply==1.36 email-reply-parser==0.5.12

python3 - <<'PYTHON'
import sys

from email_reply_parser import EmailReplyParser
from mailparser_reply import EmailReplyParser as MailReplyParser

ROUTE = "Hello,\n\nFrom: Cologne\nTo: Berlin\nThe parcel needs four days.\n\nThanks\nJane\n"
REQUEST = "On Monday your colleague wrote:\nplease send the invoice again.\nI have not got it yet.\n"
outcome = []
for mail in (ROUTE, REQUEST):
    replies = (MailReplyParser(languages=["en"]).read(mail).latest_reply, EmailReplyParser.parse_reply(mail))
    print(f"{mail!r}\n  mail-parser-reply:  {replies[0]!r}\n  email-reply-parser: {replies[1]!r}")
    outcome += replies
as_described = outcome == ["Hello,", "Hello,", REQUEST.rstrip(), ""]
print("as described" if as_described else "changed")
sys.exit(not as_described)
PYTHON
