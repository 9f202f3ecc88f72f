"""Names that break what handles names carelessly: as paths, options, markup, formulas, or on a terminal."""

PATHS = [
    "../../etc/passwd",
    "/etc/passwd",
    "..",
    ".",
    "a/../b",
    "a//b",
    "/",
    "a/",
    "./a",
    "C:\\videos\\a.mp4",
    "\\\\host\\x",
]
DEVICES = ["con", "NUL", "com1.mp4", "aux", "prn.txt", "lpt9", "/dev/null", "/dev/stdin"]
OPTIONS = ["-rf", "--help", "-", "--", "-o", "@file", "a--b", "a=b", "a:b", "a,b", "a;b", "a|b", "a&b", "a b"]
OWN_NAMES = ["zarr.json", "videos", "catalogue", "tokens", "c.0.0.0", ".zgroup", "talk.partial", "zarr.json.0f.partial"]
URLS = ["s3://bucket/key", "file:///etc/passwd", "http://127.0.0.1/x", "memory://x", "hf://x", "%2e%2e", "%00", "a?b#c"]
SHELL = ["~", "$HOME", "`id`", "$(id)", "*", "?", "[a]", "{a,b}", "!x", "'", '"', "a'b\"c"]
MARKUP = [
    "<script>alert(1)</script>",
    "</script><b>",
    "<img src=x onerror=alert(1)>",
    "&lt;",
    "[bold red]x[/]",
    "${7*7}",
    "{{7*7}}",
]
FORMULAS = ["=cmd|' /C calc'!A0", "+1+1", "@SUM(1)", "=1+1"]
LETTERS = ["é", "e\u0301", "İstanbul", "ı", "ﬁlm", "ß", "SS", "映画 (1).mp4", "\U0001f600", ":cat:", "שלום", "a\u200db"]
LONG = ["a" * 1000, "é" * 500, "a/" * 300]
SPACES = ["trailing.", "trailing ", " leading", "..."]

READABLE = [*PATHS, *DEVICES, *OPTIONS, *OWN_NAMES, *URLS, *SHELL, *MARKUP, *FORMULAS, *LETTERS, *LONG, *SPACES]
"""What a manifest may list."""

OBEYED = [
    " ",
    "tab\tnewline\n",
    "null\0byte",
    "\x1b[31mred",
    "\x1b]0;title\x07",
    "a\rb",
    "a\u202eb",
    "file-\udcff.mp4",
    "a\x7f",
]
"""What a terminal obeys, or a manifest refuses: the store alone takes it."""
