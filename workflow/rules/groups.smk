"""Which jobs go to a queue together."""

for RULE in workflow.rules:
    RULE.group = group_of(RULE.name, PLAN)
