"""The protocols that judge pairs; stand-ins for the published prompts."""

from jurist.protocols import pairwise, rm_r1, rrm, rubrics

# The same places as in the published prompts, in other words.
RM_R1 = {
    "instruct_system": "Judge. <answer>[[A/B]]</answer>",
    "instruct_user": "Q {question}\nA {answer_a}\nB {answer_b}",
    "instruct_user_multi_turn": "1 {conversation_1}\n2 {conversation_2}",
    "reasoning_user": "Judge. Q {question}\nA {answer_a}\nB {answer_b}",
    "reasoning_user_multi_turn": "Judge. 1 {conversation_1}\n2 {conversation_2}",
}
RRM = {"system": "Judge.\n\n", "user": "Q {question}\n1 {answer1}\n2 {answer2}\n\\boxed{Assistant 1} or 2"}
PAIRS = {
    "rubrics": rubrics.rubrics(),
    "rubrics-short": rubrics.rubrics_short(),
    "pairwise": pairwise.pairwise(),
    "pairwise-short": pairwise.pairwise_short(),
    "rm-r1-instruct": rm_r1.rm_r1(RM_R1, "instruct"),
    "rm-r1-reasoning": rm_r1.rm_r1(RM_R1, "reasoning"),
    "rrm": rrm.rrm(RRM),
}
