"""The English words by which claims are recognised: of direction, of comparison, of plans."""

from __future__ import annotations

import re
from typing import Literal

Direction = Literal["up", "down", "improved", "worse", "same", "best", "highest", "lowest"]

Unit = Literal["", "%", "points", "x"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_BY_DIRECTION: dict[Direction, frozenset[str]] = {
    "up": _words(
        "rose rises risen rise increased increases increase higher grew grown climbed up above larger greater more jumped "
        "slower exceeded exceeds doubled tripled gained gain raised"
    ),
    "down": _words(
        "fell falls fallen fall decreased decreases decrease reduced reduces reduction lower lowered lowers dropped drops "
        "drop declined declines decline down below smaller fewer less shrank shrunk halved brought cut cuts faster quicker"
    ),
    "improved": _words(
        "improved improves improve improvement improvements better outperformed outperforms outperform beat beats beaten "
        "surpassed surpasses superior"
    ),
    "worse": _words(
        "worse worsened worsens degraded degrades deteriorated deteriorates regressed underperforms underperformed inferior"
    ),
    "same": _words("unchanged identical"),
    "best": _words("best"),
    "highest": _words("highest largest most slowest"),
    "lowest": _words("lowest smallest fewest least fastest quickest"),
}
COURSES: dict[str, Direction] = {word: kind for kind, words in _BY_DIRECTION.items() for word in words}
"""Words of direction."""
BARE = _words("increases decreases reduces lowers improves degrades drops falls rises declines improve beats fall")
"""Forms that also say what a method is meant to do: a claim about results only where a run is named."""
BEATS = _words("beats beat outperforms outperformed outperform surpasses surpassed")
"""Verbs whose object is the run that another is held against."""
COMPARATIVES = _words(
    "higher larger greater more lower smaller fewer less better worse superior inferior faster quicker slower"
)
SHOWN = _words("confirm confirms confirmed show shows showed prove proves proved demonstrates")
"""Words after which a general verb tells a result."""
SPEED = _words("faster quicker slower fastest quickest slowest")
"""Of a time alone: what falls faster is not lower."""
NOUNS = _words(
    "increase rise gain decrease drop decline reduction improvement improvements fall difference change price cost"
)
FACTORS = {"doubled": 2.0, "tripled": 3.0, "halved": 0.5}
GAINED = _words("gain gains gained lose loses lost")
"""Verbs whose object is a change."""
PLACES = _words("below above up down")
AGAINST = _words("than against versus vs over to as from below above with unlike on since")
"""Words before a run that another one is held against; `to` and `with` only after one of HELD."""
HELD = _words("compared comparison contrast contrary relative identical equal similar respect par level close")
PREPOSITIONS = _words("in for of at by with on from both the our its runs run and")
BREAKS = _words("; : but while whereas although though because since however yet")
"""What ends the reach of a metric's name."""
ABOUT = _words("about around roughly approximately approx nearly almost some ~ ≈")
BELOW = _words("below under less fewer")
ABOVE = _words("above over more greater exceeds exceeded exceeding beyond")
NOT = _words("not no never nor without neither failed")
LABELS = _words(
    "line step section figure fig table eq equation item attempt phase stage chapter arxiv version point part option # page "
    "python torch cuda"
)
"""Words whose number is a name."""
PHASES = _words("first last every within after until warmup warm-up another other initial remaining additional extra")
"""`the first 100 steps`: a part of what the run used."""
DERIVED = _words(
    "ratio average averaged median std deviation standard sum total gap correlation product share part contribution weight "
    "range spread"
)
"""What is computed from values and is on no record."""
BEFORE_NOUN = _words("the a an of in with for at on this that our its by from under without")
WENT = _words("went goes gone back moved came comes is was")
NARROWING = _words("on for of among within per at in")
"""`absorption on the letter c`: a part of what the metric is about, unless one of WHOLE follows."""
WHOLE = _words("comparison contrast total fact end experiment model method evaluation test campaign")
DESCRIBED = _words("model run baseline variant version setting configuration one autoencoder network experiment")
"""`the k=40 model`: the number names it."""
TIMES = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10}
VERDICTS = {
    ("improved",): "improved",
    ("worse",): "worse",
    ("inconclusive",): "inconclusive",
    ("undecided",): "inconclusive",
    ("invalid",): "invalid",
    ("unhealthy",): "invalid",
    ("trade-off",): "trade_off",
    ("trade", "off"): "trade_off",
    ("trade", "-", "off"): "trade_off",
    ("traded", "off"): "trade_off",
    ("not", "significant"): "not_significant",
    ("within", "noise"): "not_significant",
    ("within", "the", "noise"): "not_significant",
}
"""Verdicts as records have them and as earlier versions had them, word by word."""
UNITS: dict[tuple[str, ...], Unit] = {
    ("percentage", "points"): "points",
    ("percentage", "point"): "points",
    ("percent", "points"): "points",
    ("%", "points"): "points",
    ("points",): "points",
    ("point",): "points",
    ("pp",): "points",
    ("%",): "%",
    ("percent",): "%",
    ("x",): "x",
    ("×",): "x",
    ("times",): "x",
    ("-", "fold"): "x",
}
"""What may stand behind a number, longer ones first."""
OF_TIME = _words("ms millisecond milliseconds s second seconds")
"""Units behind a number that is none of steps, but of what they take."""
BETWEEN_RUN_AND_NUMBER = _words("( : = at of value is has had a an ~ -")
LINKED = _words("is was are were remains slightly got became ended has much far even now")
"""Words before a comparative that make it a statement."""
LINKS = _words(
    "is was are were be been being of at to from by with has have had reach reached reaches reaching hit hits gave gives "
    "get got gets scored scores about around roughly approximately nearly almost exactly only just still now value values "
    "than vs versus against under over below above equals equal up down went goes came comes stands stood stay stayed "
    "stays remain remained remains held holds keep keeps ended ends end and or but for in the its their a an set use used "
    "uses using take took takes trained brings brought after instead yet then least reported report reports measured "
    "measures here there they it all both between dropping falling rising going while whereas which that so because since "
    "as on compared relative rather again too well respectively each when though not before also already later out "
    "exceeds exceeded exceeding beyond reading reads became becomes makes made yields yielded achieved achieves achieve "
    "attains attained shows showed shown settles settled drop drops fall falls rise rises back score scores accuracy "
    "slightly low high changed changes moved moves shifted i.e e.g percent percentage points point pp x times fold"
).union(COURSES, GAINED)
"""Words that may stand beside a number without naming what it counts."""

FUTURE = re.compile(
    r"\b(?:next|will|i'll|we'll|plan(?:s|ned)?|would|could|should|may|might|expect(?:s|ed)?|hope|hypothesi\w+|predict\w*"
    r"|going to|intend\w*|propos\w+|let's|try|want|aim\w*|whether|if|todo|goal is|supposed|in order to|so as to|likely"
    r"|probably|ideally)\b",
    re.IGNORECASE,
)
NOT_FUTURE = re.compile(
    r"\b(?:who|which)\s+may\b|\b(?:as|than)\s+(?:(?:we|i)\s+)?(?:had\s+)?(?:expected|planned|predicted|hoped)\b",
    re.IGNORECASE,
)
CLAUSE = re.compile(r"[,;:]\s|\s(?:but|so|because|while|whereas)\s|\sand\s(?=(?:I|we|next|then)\s)")
UNPROVEN = re.compile(
    r"undecided|inconclusive|(?:may|might|could|can) be (?:just |only |mere )?noise|within (?:the )?noise|noise is unknown"
    r"|not know the noise|(?:one|a single|single|1) seed|proves nothing|in numbers only|on paper|not significant"
    r"|no(?:t a)? fair comparison|not comparable",
    re.IGNORECASE,
)
"""What takes back that an improvement is one."""
SCOPE = re.compile(r"\b(?:so far|here|yet|of all|of any|of the|among|to date|overall|campaign|still|ever)\b")
"""What makes a superlative one over the runs."""
