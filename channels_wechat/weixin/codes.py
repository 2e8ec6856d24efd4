"""The codes of api.weixin.qq.com: errcode → what to do, the cause, the cure and where it is done (facts 1.3 and 1.4).

Each row says whether the answer can come after the deed (`Effect`).
"""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from channels_wechat.contract.explanations import Action, Effect, Explanation
from channels_wechat.weixin import places

R, W, C, P, H = Action.RETRY, Action.WAIT, Action.CONFIG, Action.PERMANENT, Action.WINDOW

_BY_ITSELF = _("Nothing needs to be done: it goes on by itself.")
_NOTHING = _("Nothing needs to be done: messages are not affected.")
_SHORTEN = _("Shorten it and send it again.")
_CORRECT = _("Correct it and send it again.")
_NO_FRESH_IP = _("The administrator must agree when WeChat asks again; nothing is sent before.")

_SECRET = Explanation(
    C,
    _("WeChat refuses the AppSecret, or an access token that was just fetched with it."),
    _("Copy the AppSecret again, and see that no other program resets it."),
    place=places.KEYS,
)
_APP_ID = Explanation(
    C,
    _("WeChat does not know this AppID."),
    _("Copy it again."),
    place=places.KEYS,
)
_ADDRESS = Explanation(
    C,
    _("WeChat does not accept calls from this server's IP address, named below."),
    _("Add it to the whitelist, then press Test."),
    place=places.TRUSTED_ADDRESSES,
)
_CONFIRM = Explanation(
    C,
    _("WeChat asks the account's administrator to confirm this server's IP address."),
    _("Let them answer the notice in WeChat; then press Test."),
)
_PUNISHED = Explanation(
    C,
    _("WeChat has restricted or frozen this account."),
    _("The notices say why, and until when."),
    place=places.NOTICES,
)
_OURS = Explanation(
    P,
    _("WeChat does not understand the call."),
    _("This is a mistake of this program; report it with the words below."),
)
_BAD_PARAMETER = Explanation(
    P, _("WeChat refused a part of the message."), _("The words below say which; correct it and send it again.")
)
_BAD_MEDIA = Explanation(
    P,
    _("WeChat does not take this file: its type or size is not allowed."),
    _("Send a smaller one, or JPG or PNG, AMR or MP3, MP4."),
)
_TOO_LONG = Explanation(P, _("The message, or a part of it, is longer than WeChat takes."), _SHORTEN)
_BAD_ADDRESS = Explanation(
    P,
    _("WeChat does not take an address in the message: it is too long, not valid, or its domain is not registered."),
    _CORRECT,
)
_STRANGER = Explanation(
    P,
    _("WeChat knows no such user for this account: the OpenID belongs to another account, or never followed this one."),
    _("Compare the OpenID with the account's contacts: each account has its own for the same person."),
)
_NOT_FOLLOWING = Explanation(
    P,
    _("The user does not follow the account any more."),
    _("They must follow it again before anything can be said."),
)
_ON_THEIR_MESSAGE = _("It is sent by itself when they write again; who can call them may ask them to.")
_TOO_LATE = Explanation(
    H,
    _("More than 48 hours have gone by since the user wrote last, or they do not follow the account."),
    _ON_THEIR_MESSAGE,
)
_TOO_MANY = Explanation(
    H,
    _("WeChat takes no more messages to this user: the number that may follow what they did is used up."),
    _ON_THEIR_MESSAGE,
)
_MINUTE = Explanation(W, _("WeChat had too many calls in this minute."), _BY_ITSELF)
_DAY = Explanation(
    W,
    _("WeChat's limit of calls for today is used up."),
    _("It goes on by itself at midnight in China; the account page shows the counters."),
)
_NOT_GRANTED = Explanation(
    P,
    _("WeChat does not grant this interface to the account: its type or missing verification excludes it."),
    _("See which interfaces it has; most need a verified account."),
    place=places.PERMISSIONS,
)
_LOGIN = Explanation(P, _("The login code was used already or is too old."), _("Log in again."))
_MASS_REFUSED = _("The administrator must confirm it in WeChat within 30 minutes; send it again.")
_MODERATED = Explanation(
    P, _("WeChat's content check refused the message."), _("Change what it objects to before you send it again.")
)
_CONSENT = Explanation(
    P,
    _("The user did not agree to this message, or used up their consent."),
    _("They must agree in the Mini Program again."),
)

_NO_MENU_ITEM = _("Correct the menu and publish it again.")
_MENUS = {
    65301: Explanation(P, _("There is no menu for certain users with this ID."), _("Choose one that exists."), place=places.MENU),
    65302: Explanation(P, _("No such user exists for this menu."), _("Compare the OpenID."), place=places.MENU),
    65303: Explanation(P, _("A menu for certain users needs a menu for all first."), _("Publish that one first."), place=places.MENU),
    65304: Explanation(P, _("The menu does not say for whom it is."), _NO_MENU_ITEM),
    65305: Explanation(
        P, _("The account has as many menus for certain users as WeChat allows."), _("Delete one first."), place=places.MENU,
    ),
    65306: Explanation(P, _("WeChat gives this account no menus for certain users."), _("Use one menu for all."), place=places.PERMISSIONS),
    65307: Explanation(P, _("The menu for certain users is empty."), _NO_MENU_ITEM),
    65308: Explanation(P, _("A button of the menu does nothing."), _NO_MENU_ITEM),
    65309: Explanation(P, _("Menus for certain users are switched off."), _("Switch them on."), place=places.MENU),
    **{
        code: Explanation(
            P, _("The menu's country, province or city is not complete or not known; WeChat has withdrawn them."),
            _("Take them out, and choose by tag."),
        )
        for code in range(65310, 65316)
    },
    65316: Explanation(P, _("All menus together lead to more than three other domains."), _NO_MENU_ITEM),
    65317: Explanation(P, _("An address in the menu is not valid."), _NO_MENU_ITEM),
    65320: Explanation(P, _("WeChat no longer chooses menus by sex, region or language."), _("Choose by tag or by system.")),
}  # fmt: skip
_WRONG_SERVICER = _("Compare it with the list of servicers.")
_SERVICERS = {
    61450: Explanation(P, _("WeChat's customer service failed."), _("Try again later.")),
    **dict.fromkeys(
        (61451, 65416), Explanation(P, _("A parameter for customer service is not valid."), _OURS.cure),
    ),
    **dict.fromkeys(
        (61452, 65401, 65404), Explanation(P, _("There is no such servicer."), _WRONG_SERVICER, place=places.SERVICERS),
    ),
    **dict.fromkeys(
        (61453, 65406), Explanation(P, _("There is a servicer of this name already."), _("Choose another name."), place=places.SERVICERS),
    ),
    61454: Explanation(P, _("The name of the servicer is longer than ten letters."), _("Shorten it."), place=places.SERVICERS),
    61455: Explanation(
        P, _("The name of the servicer has characters other than letters, digits and “_”."), _("Choose another name."),
        place=places.SERVICERS,
    ),
    **dict.fromkeys(
        (61456, 65405),
        Explanation(P, _("The account has as many servicers as WeChat allows."), _("Delete one first."), place=places.SERVICERS),
    ),
    61457: Explanation(P, _("The servicer's picture is not a JPG."), _("Choose another picture."), place=places.SERVICERS),
    65400: Explanation(
        P, _("The account has not switched on customer service."), _("Add the function, then try again."), place=places.SERVICERS,
    ),
    65402: Explanation(
        P, _("The servicer has not linked a WeChat account yet."), _("They must accept the invitation in WeChat."), place=places.SERVICERS,
    ),
    65403: Explanation(
        P, _("WeChat does not take the servicer's name that people read."), _("Choose another, of 16 characters at most."),
        place=places.SERVICERS,
    ),
    65407: Explanation(P, _("This person is a servicer of the account already."), _("Nothing needs to be done.")),
    **dict.fromkeys(
        (65408, 65411), Explanation(P, _("An invitation to this person is waiting."), _("They must accept it in WeChat.")),
    ),
    65409: Explanation(P, _("There is no such WeChat account to invite."), _("Compare the WeChat ID."), place=places.SERVICERS),
    65410: Explanation(
        P, _("This person is a servicer of as many accounts as WeChat allows."), _("Invite somebody else."), place=places.SERVICERS,
    ),
    65412: Explanation(P, _("The servicer has linked a WeChat account already."), _("Nothing needs to be done.")),
    65413: Explanation(P, _("The user is in no session with a servicer."), _("Nothing needs to be done.")),
    65414: Explanation(P, _("Another servicer is serving this user."), _("Wait until they end the session."), place=places.SERVICERS),
    65415: Explanation(P, _("The servicer is not online."), _("They must log in, or choose another."), place=places.SERVICERS),
    65417: Explanation(P, _("The records are asked for more than 24 hours at once."), _OURS.cure),
}  # fmt: skip

PLATFORM: dict[int, Explanation] = {
    -1: Explanation(
        R, _("WeChat is busy. What was sent may have arrived all the same."), _("Look into the chat before you send it again."),
        effect=Effect.POSSIBLE,
    ),
    45169: Explanation(R, _("Someone changed the same data at the same time; the call is repeated."), _BY_ITSELF),
    40007: Explanation(R, _("The uploaded file is no longer at WeChat, which keeps them for three days; it is uploaded anew."), _BY_ITSELF),
    40004: Explanation(
        R, _("WeChat does not know the uploaded file's type; it is uploaded anew once."),
        _("If it fails again, send it as another type of file."),
    ),
    45009: _DAY,
    45028: Explanation(
        W, _("The account has sent all its mass messages of this period."), _("Wait for the next day or month."),
        place=places.MASS_MESSAGES,
    ),
    **dict.fromkeys((45011, 45066, 53501), _MINUTE),
    48006: Explanation(
        W, _("The counters were cleared ten times this month, which is all that WeChat allows."),
        _("Wait for the next month, or for midnight in China, when each day's limit begins anew."),
    ),
    61503: Explanation(W, _("WeChat has these figures only after 8:00 the next morning."), _BY_ITSELF),
    89506: Explanation(
        W, _("The administrator refused this server's IP address; WeChat lets it ask again after 24 hours."), _NO_FRESH_IP,
        place=places.TRUSTED_ADDRESSES,
    ),
    89507: Explanation(
        W, _("The administrator refused this server's IP address; WeChat lets it ask again after an hour."), _NO_FRESH_IP,
        place=places.TRUSTED_ADDRESSES,
    ),
    45015: _TOO_LATE,
    45047: _TOO_MANY,
    **dict.fromkeys((40001, 40014, 42001, 40125), _SECRET),
    40243: Explanation(C, _("The AppSecret is frozen."), _("Unfreeze it."), place=places.KEYS),
    40013: _APP_ID,
    **dict.fromkeys((40164, 61004), _ADDRESS),
    **dict.fromkeys((89501, 89503), _CONFIRM),
    **dict.fromkeys((50002, 50004, 50007), _PUNISHED),
    61024: Explanation(
        C, _("The account is managed by a third-party platform, which alone may fetch its access token."),
        _("End that authorisation, or connect the account by that platform."), place=places.AUTHORISATIONS,
    ),
    87009: Explanation(C, _("WeChat refuses the signature of the call."), _("Switch off API signing."), place=places.API_SECURITY),
    43104: Explanation(
        P, _("The account may not use this template, or the user belongs to another account."),
        _("Choose one of the account's templates."), place=places.TEMPLATES,
    ),
    40003: _STRANGER,
    **dict.fromkeys((40032, 40035, 40038, 47001), _BAD_PARAMETER),
    40008: Explanation(P, _("WeChat does not know this type of message."), _("Send it as a text, a picture, a voice message or a video.")),
    **dict.fromkeys((40002, 40033, 41001, 41002, 41004, 41005, 41006, 43002, 44002, 45067), _OURS),
    **dict.fromkeys((40005, 40006, 40009, 45001), _BAD_MEDIA),
    45007: Explanation(P, _("A voice message may last 60 seconds at most."), _("Send it in pieces.")),
    40037: Explanation(P, _("There is no template with this ID any more."), _("Choose another from the list.")),
    **dict.fromkeys((40039, 40048, 40054, 40055), _BAD_ADDRESS),
    **dict.fromkeys((40029, 40163, 42003), _LOGIN),
    42007: Explanation(P, _("The user changed their password."), _("They must authorise again.")),
    **dict.fromkeys((40200, 48001), _NOT_GRANTED),
    40249: Explanation(
        P, _("WeChat forbids advertising in this template."), _("Write what the template is for, without advertising."),
        place=places.TEMPLATES,
    ),
    43116: Explanation(P, _("WeChat has restricted this template."), _("Choose another; the notices say why."), place=places.TEMPLATES),
    41030: Explanation(
        P, _("The page is not in the released version of the Mini Program."), _("Correct it, or release a version that has it."),
    ),
    **dict.fromkeys((43004, 50005), _NOT_FOLLOWING),
    43019: Explanation(P, _("The user is on the account's blacklist."), _("Take them off it first."), place=places.FOLLOWERS),
    43101: _CONSENT,
    44004: Explanation(P, _("The message is empty."), _("Write something and send it again.")),
    **dict.fromkeys((45002, 45003, 45004, 45005, 45006), _TOO_LONG),
    45008: Explanation(P, _("A news message has one article at most."), _("Send the others one by one.")),
    45056: Explanation(P, _("The account has 100 tags, which is all that WeChat allows."), _("Delete one first."), place=places.TAGS),
    45057: Explanation(
        P, _("More than 100 000 followers have this tag, so it cannot be deleted."), _("Take it off some of them first."),
        place=places.TAGS,
    ),
    45058: Explanation(P, _("This is one of WeChat's own tags, which cannot be changed."), _("Choose another tag."), place=places.TAGS),
    45059: Explanation(P, _("The follower has as many tags as WeChat allows."), _("Take one off them first."), place=places.TAGS),
    45157: Explanation(
        P, _("WeChat does not take the name of the tag, or there is one of this name."), _("Choose another name."), place=places.TAGS,
    ),
    45158: Explanation(P, _("The name of the tag is longer than 30 characters."), _("Shorten it."), place=places.TAGS),
    45159: Explanation(P, _("There is no tag with this ID."), _("Choose one of the list."), place=places.TAGS),
    45171: Explanation(
        P, _("Some of the followers could not be given the tag."), _("Repeat it for those that are named below."), place=places.TAGS,
    ),
    45064: Explanation(
        P, _("The Mini Program is not linked to the account."), _("Link it."), place=places.LINKED_PROGRAMS,
    ),
    45072: Explanation(P, _("WeChat does not know this command for the sign “is typing”."), _NOTHING),
    45080: Explanation(P, _("The sign “is typing” could not be shown: the user did nothing in the last 30 seconds."), _NOTHING),
    45081: Explanation(P, _("The sign “is typing” is shown already."), _NOTHING),
    45166: Explanation(P, _("WeChat does not accept the content of the draft."), _CORRECT),
    46003: Explanation(P, _("The account has no menu."), _("Make one, or leave it."), place=places.MENU),
    47003: Explanation(P, _("What was filled in does not fit the template."), _("The words below name the field.")),
    48002: Explanation(
        P, _("The user has switched off messages of this account."), _("They must switch them on in the account's profile in WeChat."),
    ),
    48003: Explanation(
        P, _("The rules for mass messages were not accepted."), _("The administrator must accept them first."), place=places.MASS_MESSAGES,
    ),
    48004: Explanation(
        P, _("WeChat has banned the account from this interface."), _("The notices say why, and until when."), place=places.NOTICES,
    ),
    48005: Explanation(
        P, _("The file is used by a menu or an automatic answer, so it cannot be deleted."), _("Take it out of them first."),
        place=places.MATERIAL,
    ),
    48008: Explanation(
        P, _("WeChat does not let this account send messages of this type."),
        _("Send it as a text; see which interfaces the account has."), place=places.PERMISSIONS,
    ),
    50001: Explanation(P, _("The user did not authorise the account for this."), _("They must authorise it in WeChat.")),
    53500: Explanation(
        P, _("WeChat has banned the account from publishing."), _("The notices say why, and until when."), place=places.NOTICES,
    ),
    53502: Explanation(P, _("There is no publication with this ID."), _("Choose one of the list."), place=places.PUBLICATIONS),
    53600: Explanation(P, _("There is no article with this ID."), _("Choose one of the list."), place=places.PUBLICATIONS),
    61010: Explanation(
        P, _("The user has not opened the Mini Program within the last two hours, so WeChat does not check their text."),
        _("Staff decide about the message, or the user opens the Mini Program again."),
    ),
    **_SERVICERS,
    61500: Explanation(P, _("A date is not written as WeChat expects it."), _OURS.cure),
    61501: Explanation(P, _("The dates are too far apart for these figures."), _("Ask for fewer days.")),
    **_MENUS,
    70000: Explanation(P, _("WeChat protects minors from this message; it is not sent again."), _("Do not send it in another way either.")),
    76021: Explanation(P, _("WeChat knows no interface of this name, so it has no counter."), _OURS.cure),
    76022: Explanation(P, _("WeChat does not show the counter of this interface to the account."), _NOTHING),
    87014: _MODERATED,
    89504: Explanation(P, _("The administrator refused the mass message."), _MASS_REFUSED),
    89505: Explanation(P, _("The administrator did not confirm the mass message within 30 minutes."), _MASS_REFUSED),
    9410010: Explanation(P, _("The text behind the short key is too long."), _SHORTEN),
    9410011: Explanation(P, _("The short key is to live longer than the 30 days that WeChat allows."), _("Choose a shorter time.")),
    9410012: Explanation(P, _("The short key has ended."), _("Make a new one.")),
}  # fmt: skip
