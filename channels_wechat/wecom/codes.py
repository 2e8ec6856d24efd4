"""WeCom's codes: errcode → what to do, the cause, the cure and where it is done (pages 90313 and 90454).

Each row says whether the answer can come after the deed (`Effect`).
"""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from channels_wechat.contract.explanations import Action, Effect, Explanation
from channels_wechat.wecom import places

R, W, C, P = Action.RETRY, Action.WAIT, Action.CONFIG, Action.PERMANENT

_BY_ITSELF = _("Nothing needs to be done: it goes on by itself.")
_OURS = _("This is a mistake of this program: report it with the words below.")
_SHORTEN = _("Shorten it and send it again.")
_NOTHING = _("Nothing needs to be done: messages are not affected.")
_AS_MESSAGE = _("Nothing needs to be done: the answer is sent in another way.")

_NO_MEMBER = Explanation(
    P,
    _("WeCom knows no such member."),
    _("Compare the user ID with the member's account in the address book."),
    place=places.MEMBERS,
)
_OUT_OF_SCOPE = Explanation(
    P,
    _("The member is outside the app's visible scope."),
    _("Add them to the app's visible scope."),
    place=places.ALLOWED_USERS,
)
_BAD_MEDIA = Explanation(
    P,
    _("WeCom does not take this file: its type or size is not allowed."),
    _("Send it as a plain file, or smaller."),
)
_BAD_PARAMETER = Explanation(
    P,
    _("WeCom refused a parameter of the call."),
    _("The words below say which; correct the message and send it again."),
)
_TOKEN = Explanation(
    R,
    _("WeCom refused the access token twice in a row; it is tried again later with a new one."),
    _(
        "If it repeats, see whether another program fetches tokens with the same secret, and whether the secret was reset."
    ),
    place=places.APP_SECRET,
)
_SECRET = Explanation(
    C,
    _("WeCom refuses the secret: it is wrong, was reset, or the app was stopped."),
    _("Copy it again, and see that the app is enabled."),
    place=places.APP_SECRET,
)
_ADDRESS = Explanation(
    C,
    _("WeCom does not trust this server's IP address."),
    _("Add the address that is named below; it takes effect in about a minute."),
    place=places.TRUSTED_ADDRESSES,
)
_NOBODY = Explanation(
    P,
    _("Nobody could receive this: every recipient is unknown or outside the app's visible scope."),
    _("Check who is in the app's visible scope."),
    place=places.ALLOWED_USERS,
)
_CORP_ID = Explanation(
    C,
    _("WeCom does not know this corp ID."),
    _("Copy it again."),
    place=places.CORP_ID,
)
_SUITE = Explanation(
    C, _("The authorisation of the third-party app ended."), _("Authorise it again."), place=places.THIRD_PARTY_APPS
)
_AGENT = Explanation(
    C,
    _("The AgentId is not that of the app whose secret is stored."),
    _("Copy AgentId and secret from the same app's page."),
    place=places.APP,
)
_NOT_PERMITTED = Explanation(
    C,
    _("The app may not call this interface."),
    _("Choose the app among those that may call that feature's interface."),
    place=places.CALLABLE_APPS,
)
_NO_GROUP = Explanation(
    P,
    _("There is no group chat with this ID."),
    _("Compare the ID of the mapping or the message with the app's group chats."),
)
_GROUP_MEMBERS = Explanation(
    P,
    _(
        "A member of the group is not valid: each must exist and be visible to the app, and the owner must be among them."
    ),
    _("Correct the list of members."),
    place=places.ALLOWED_USERS,
)
_BAD_TEXT = Explanation(
    P,
    _("The message is empty, or a required part of it is missing."),
    _("The words below name the part: fill it in and send it again."),
)
_TOO_LONG = Explanation(P, _("The message, or a part of it, is longer than WeCom takes."), _SHORTEN)
ROBOT_REMOVED = Explanation(
    P,
    _("The group robot's address is not valid any more: the robot was removed."),
    _("Add one to the group and store its address."),
    place=places.ROBOT,
)
_KF_STATE = Explanation(
    P,
    _("The customer-service conversation does not allow this now."),
    _("Wait for the customer to write again."),
)
_DISABLED = Explanation(C, _("The app is disabled."), _("Enable it."), place=places.APP)
_ARCHIVE = Explanation(
    C,
    _("The conversation archive is not in order: its licence, its switch or its IP list."),
    _("Check whether it is licensed and switched on, and whether its list has the address named below."),
    place=places.ARCHIVE,
)

# As most kinds are to understand them.
PLATFORM: dict[int, Explanation] = {
    -1: Explanation(
        R, _("WeCom is busy. What was sent may have arrived all the same."), _("Look into the chat before you send it again."),
        effect=Effect.POSSIBLE,
    ),
    6000: Explanation(R, _("Someone changed the same data at the same time; the call is repeated."), _BY_ITSELF),
    45033: Explanation(R, _("Too many calls at the same moment; the call is repeated."), _BY_ITSELF),
    45009: Explanation(
        W, _("WeCom's limit for calls is reached."), _("Nothing is sent until it lets us again; this goes on by itself."),
    ),
    40007: Explanation(R, _("The uploaded file is no longer at WeCom, which keeps them for three days; it is uploaded anew."), _BY_ITSELF),
    **dict.fromkeys((40014, 42001, 41001), _TOKEN),
    40001: _SECRET,
    **dict.fromkeys((40013, 2000002), _CORP_ID),
    **dict.fromkeys((40056, 301002), _AGENT),
    40091: Explanation(
        C, _("The secret belongs to another company than the corp ID."), _("Copy both from the same console."), place=places.CORP_ID,
    ),
    **dict.fromkeys((42007, 42008, 42009), _SUITE),
    48002: _NOT_PERMITTED,
    48004: Explanation(
        C, _("The permission for this interface was withdrawn."), _("Grant it again."), place=places.CALLABLE_APPS,
    ),
    50001: Explanation(
        C, _("The redirect address is not on the app's trusted domain."), _("Enter the domain of the address."), place=places.WEB_LOGIN,
    ),
    50003: _DISABLED,
    60020: _ADDRESS,
    85005: Explanation(
        C, _("The mini program is not linked to the app."), _("Link it."), place=places.MINI_PROGRAMS,
    ),
    93004: Explanation(C, _("The group robot is disabled."), _("Enable it in the group's settings."), place=places.ROBOT),
    95000: Explanation(C, _("The customer-service account ID is wrong."), _("Copy it again."), place=places.KF_ACCOUNT),
    95017: Explanation(
        C, _("The interface of WeChat customer service is switched off."), _("Switch it on, and choose the app there."),
        place=places.KF_API,
    ),
    **dict.fromkeys((301042, 301052, 301053), _ARCHIVE),
    301058: Explanation(C, _("The archive was asked for more messages at once than it gives."), _OURS),
    **dict.fromkeys((40003, 40031, 46004, 60111), _NO_MEMBER),
    **dict.fromkeys((40004, 40005, 40006, 40009, 40011, 45001), _BAD_MEDIA),
    45007: Explanation(P, _("A voice message may last 60 seconds at most."), _("Send it as a file.")),
    40008: Explanation(P, _("WeCom does not know this type of message."), _("Send it as a text or a file.")),
    40029: Explanation(P, _("The login code was used already or is older than five minutes."), _("Log in again.")),
    40033: Explanation(P, _("WeCom refused characters of the message."), _OURS),
    **dict.fromkeys((40035, 40058, 86220), _BAD_PARAMETER),
    **dict.fromkeys((40050, 86001), _NO_GROUP),
    **dict.fromkeys((40063, 41006, 44001, 44004), _BAD_TEXT),
    40093: Explanation(P, _("The signature of the page is wrong."), _OURS),
    40096: Explanation(
        P, _("WeCom knows no such customer."), _("Compare the customer's ID: it belongs to this company and begins with wm or wo."),
    ),
    41051: Explanation(P, _("The two are in conversation already, so WeCom sends no welcome."), _NOTHING),
    42014: Explanation(P, _("There is no card with this task ID."), _("Send the card anew: WeCom knows a card for 72 hours.")),
    43004: Explanation(
        P, _("The member has not linked WeChat: they do not follow the company's WeChat plugin."),
        _("They scan the code of the WeChat plugin."), place=places.WECHAT_PLUGIN,
    ),
    **dict.fromkeys((45002, 45004), _TOO_LONG),
    45008: Explanation(P, _("A news message has at most eight articles."), _("Send the others in a second message.")),
    45034: Explanation(P, _("An address in the message lacks http:// or https://."), _("Write the whole address and send it again.")),
    48005: Explanation(P, _("WeCom has retired this interface."), _("Update this program; report it where it is the newest.")),
    **dict.fromkeys((50002, 60021, 92000), _OUT_OF_SCOPE),
    60003: Explanation(
        P, _("There is no department with this ID, or the app may not see it."),
        _("Compare the ID, or add the department to the app's visible scope."), place=places.ALLOWED_USERS,
    ),
    60011: Explanation(
        P, _("The app has no right over this member, department or tag."), _("Add it to the app's visible scope."),
        place=places.ALLOWED_USERS,
    ),
    60140: Explanation(P, _("The card was answered or updated already, or is older than 72 hours."), _("Send a new card.")),
    81013: _NOBODY,
    81017: Explanation(
        P, _("Too many recipients in one message: 1000 members, 100 departments or 100 tags at most."), _("Send it in several messages."),
    ),
    82001: Explanation(P, _("The message names no recipient."), _("Name a member, a department or a tag.")),
    84061: Explanation(
        P, _("There is no contact between this member and this customer."),
        _("The member must add the customer, or a member who has them must write."),
    ),
    **dict.fromkeys((86003, 86207, 86216), _GROUP_MEMBERS),
    86004: Explanation(P, _("The group's name is too long: 50 characters at most."), _SHORTEN),
    86005: Explanation(P, _("A group chat with this ID exists already."), _("Choose another ID, or use the group chat that exists.")),
    86006: Explanation(P, _("A group chat made by the app has 2 to 2000 members."), _("Correct the list of members.")),
    86007: Explanation(P, _("The app has no right in this group chat."), _("Use a group chat that this app made.")),
    86008: Explanation(
        P, _("This group chat was not made by the app; it can write only to groups it made."),
        _("Create the group chat by this app; an AI bot or a group robot can write to other groups."),
    ),
    86224: Explanation(P, _("This is not a group chat of the kind the call is for."), _("Compare the ID of the group chat.")),
    **dict.fromkeys((93000, 93008), ROBOT_REMOVED),
    95001: Explanation(
        P, _("Five messages have followed the customer's last one, or 48 hours: the customer must write first."),
        _("Wait for the customer to write again."),
    ),
    95007: Explanation(P, _("The token of the customer-service notice is no longer valid."), _BY_ITSELF),
    **dict.fromkeys((95013, 95016, 95018), _KF_STATE),
    95014: Explanation(
        P, _("The member is no servicer of this customer-service account."), _("Add the member to its servicers."),
        place=places.KF_SERVICERS,
    ),
    301059: Explanation(P, _("This is not an internal group."), _("Compare the ID of the group chat.")),
    830002: Explanation(P, _("The file is larger than 20 MB and was not fetched in pieces."), _OURS),
    42045: Explanation(
        P, _("WeCom updates a card only by one that has a card_action."), _("Add a card_action to the card and send it again."),
    ),
    45003: Explanation(P, _("The title is longer than WeCom takes."), _SHORTEN),
    93006: Explanation(
        P,
        _("WeCom does not let the bot write to this chat: nobody there has written to it yet."),
        _("Somebody must write to the bot first, in a group by mentioning it; then send this again."),
    ),
    600039: Explanation(
        P,
        _("WeCom does not take this sort of message in this chat, for example because of a member's client."),
        _("It is sent in another way where there is one; the account's page shows what was learned."),
    ),
    846605: Explanation(P, _("The message that this answers can no longer be answered; it goes as a message of its own."), _AS_MESSAGE),
    846607: Explanation(
        W,
        _("This chat has had its messages: WeCom takes 30 a minute and 1000 an hour, frames of streams among them."),
        _("Nothing is sent there until it lets us again; this goes on by itself."),
    ),
    846608: Explanation(P, _("The stream of this answer is over, after six minutes; it goes as a message of its own."), _AS_MESSAGE),
    846609: Explanation(R, _("WeCom does not take the connection for subscribed; this is tried again."), _BY_ITSELF),
    853000: Explanation(
        C,
        _("WeCom refuses the bot ID or the secret: one is wrong, or the bot is not set to the long connection."),
        _("Copy both from the bot's page, and see that the long connection is chosen there."),
        place=places.AI_BOT,
    ),
}  # fmt: skip
