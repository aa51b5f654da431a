"""Texts that a page must show and never run, in several scripts."""

# The targets are long, so that the worst predictions are these
HOSTILE = [
    ("<script>alert(1)</script>", "<img src=x onerror=alert(2)>"),
    ('"><b onclick="x">&amp;', "'); </style> -->"),
    ("ab\u202eba", "b\u2066a" * 7),
    ("مرحبا", "سلام " * 5),
    ("שלום", "ולם " * 5),
    ("안녕하세요", "반갑습니다 " * 4),
    ("👩‍👧 é", "🇰🇷" * 15),
]
