"""HTML to plain text: what is markup goes, what the text says stays, and it ends."""

from __future__ import annotations

import time

import pytest

from pipeline.read.text.markup import INDENTED, QUOTED, marked, plain


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a < b and c > d", "a < b and c > d"),
        ("write to <anna@example.org> &amp; me", "write to <anna@example.org> & me"),
        ("<b>bold</b>\nnext", "bold\nnext"),
        ("AT&T; &copy 5&nbsp;&euro;", "AT&T; &copy 5 €"),
        ("<div>one</div>\n<div>two &lt;b&gt;</div>", "one\n\ntwo <b>"),
        ("<ol><li>a</li><li>b</li></ol><ul><li>c</li></ul>", "1. a\n2. b\n\n- c"),
        ("<style>p {}</style><p>x</p><script>y</script>", "x"),
        ("<p>new</p><blockquote><p>old</p></blockquote>", "new\n\nold"),
        ('<p>new</p><div class="gmail_quote"><div>On …</div> old</div>', "new\n\nOn …\nold"),
        ("<blockquote>all there is</blockquote>", "all there is"),
        ("<p>mail <anna@example.org></p>", "mail <anna@example.org>"),
        ("<pre>a\n  b</pre>", "a\n  b"),
        ("<p>x</p><pre>a\n\n  b\tc  d</pre>", "x\n\na\n\n  b\tc  d"),
        ("<p>one<p>two", "one\n\ntwo"),  # an end tag may be left out
        ("<ul><li>a<ul><li>b</ul><li>c</ul>", "- a\n\n- b\n\n- c"),
        ("<div><blockquote>old</div>new", "old\n\nnew"),
        ("<html><head><meta charset=x><base href=y><title>z</title></head><body>ä</body></html>", "ä"),
        ('<p title="1 > 0 <b>">x</p>if a <b', "x\n\nif a <b"),
        ("<p>a<![if !IE]>b<![endif]>c<!--[if mso]>d<![endif]-->&#13;\ne</p><![", "abc e\n\n<!["),
        ("<p>x<![1]>y</p>", "xy"),
        ("<div>" * 600 + "a &lt; b" + "</div>" * 600, "a < b"),
        (f"a{QUOTED}b <b>c</b>", "ab c"),
        ("x\r\ny  \r\n\r\n\r\n\r\nz", "x\ny\n\nz"),
        ("", ""),
    ],
)
def test_plain(text: str, expected: str) -> None:
    assert plain(text) == expected


@pytest.mark.parametrize(
    "text",
    ["<p><!--", "<p><a ", '<p><a b="', "<p><?", "<div>", "<ul></ol>", "<p>&", "<p>x", "<p><x", "<table>"],
)
def test_the_time_of_plain_text_grows_with_the_length_not_faster(text: str) -> None:
    """Each of them again and again; and first all starts, then all ends."""
    count = 100_000 // len(text)
    start, mark, end = text.partition("</")
    started = time.process_time()
    plain(text * count)
    plain(start * count + (mark + end) * count)
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('<p>new</p><blockquote type="cite">a<br>b</blockquote>c', f"new\n\n{QUOTED}a\n{QUOTED}b\n\nc"),
        ("<p>new</p><blockquote>a</blockquote>", f"new\n\n{INDENTED}a"),
        ('<p>new</p><div class="gmail_quote">On x wrote:<br>old</div>', f"new\n\n{QUOTED}On x wrote:\n{QUOTED}old"),
        (
            '<div class="gmail_quote">On x:<blockquote class="gmail_quote">old</blockquote>answer<blockquote>two'
            "</blockquote></div>new",
            f"On x:\n\n{QUOTED}old\n\nanswer\n\n{QUOTED}two\n\nnew",
        ),
    ],
)
def test_quotations_are_marked(text: str, expected: str) -> None:
    assert marked(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The page shows <title> instead of its name.\n\nWhat now?", None),
        ("Put <title>My page</title> into the <head> of the page, then save.", None),
        ('Add <script src="x.js"></script> before </head> and save.', None),
        ("A <style> without an end.\nAnd more.", None),
        ("Use the <div> tag, then </div>.", "Use the <div> tag, then </div>."),
        ("Use the <div> tag around it.", None),
        ("Press <b> to go back.", None),
        ("<p>The tag <title> is empty.</p><p>Save it.</p>", "The tag <title> is empty.\n\nSave it."),
        ("<p>Write <!-- before it.</p><p>Save.</p>", "Write <!-- before it.\n\nSave."),
        ("<p>Write <?php echo 1 ?> there.</p>", "Write <?php echo 1 ?> there."),
        ("<p>Set <key>1</key>.</p>", "Set <key>1</key>."),
        ("<p>x<o:p></o:p></p>", "x"),
        ("<html><head><title>t</title><style>p {}</style></head><body><p>Put it in <head> now.</p></body></html>",
         "Put it in <head> now."),
        ("<html><head><meta charset=x><body><p>text</p>", "text"),
        ("Forwarded:<html><head><title>t</title></head><body>text</body></html>", "Forwarded:text"),
        ("Hello,\n\ntype:\n\n<code>pair</code>\n\nand <Enter>.\n\n<pre>\n  a\n    b\n</pre>",
         "Hello,\n\ntype:\n\npair\n\nand <Enter>.\n\n  a\n    b"),
    ],
)  # fmt: skip
def test_tags_that_the_text_speaks_of_stay_and_so_does_all_after_them(text: str, expected: str | None) -> None:
    assert plain(text) == (expected or text)
