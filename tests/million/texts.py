"""What people and agents say: sentences of Chinese and English, put together by number, so that every run says the same."""

from __future__ import annotations

from itertools import product

_OPENINGS = (
    "请问", "麻烦帮我看一下", "刚才客户来电说",
    "各位早上好，", "@助手 ", "关于昨天的会议，", "紧急：", "Hi team, ", "FYI, ", "Could you check: ",
)  # fmt: skip
_SUBJECTS = (
    "本周的销售数据", "上海仓库的库存", "华东区的退货申请",
    "新员工的入职流程", "第三季度的预算表", "生产环境的服务器", "合同审批的进度", "发票抬头的修改",
    "the staging cluster", "our invoice for Shenzhen", "the onboarding checklist", "the weekly report", "供应商的报价单",
    "差旅报销的单据",
    "会员积分的规则", "物流配送的时效",
)  # fmt: skip
_STATES = (
    "什么时候能更新？", "和系统里的不一致", "已经处理完了，请查收", "需要财务部确认", "还差两份附件",
    "is still waiting for approval", "looks wrong since Monday",
    "比上个月增长了百分之十二", "出现了超时的报错", "请在下班前回复我",
    "can be closed now", "由李经理负责跟进", "我再核对一遍", "麻烦转给客服",
)  # fmt: skip
_SENTENCES = tuple(map("".join, product(_OPENINGS, _SUBJECTS, _STATES)))

# A word in 1 of 10 000 texts, and one in 1 of 8: what a search meets.
RARE, COMMON = "青花瓷茶具", "报价单"


def text(number: int) -> str:
    """What message `number` says: a question of one sentence where that is even, else an answer of two to four; with its own number."""
    words = [_SENTENCES[number * 7919 % len(_SENTENCES)], f" #{number * 37 % 1_000_003:06}"]
    if number % 2:
        words += [f"；{_SENTENCES[(number + step) * 104_729 % len(_SENTENCES)]}" for step in range(1 + number % 3)]
    if number % 10_000 == 77:
        words.append(f"，{RARE}已经到货")
    return "".join(words)


def person(number: int) -> str:
    """A name; many people share one, as in life."""
    return (
        "赵钱孙李周吴郑王冯陈"[number % 10]
        + "伟芳娜敏静丽强磊洋艳"[number // 10 % 10]
        + "明华国军平杰"[number // 100 % 6]
    )
