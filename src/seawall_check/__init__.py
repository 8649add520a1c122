"""The judge: attacks a running app control by control and shows the evidence.

It shares no code with what it judges. It speaks HTTP, the PostgreSQL catalogue, source text and one documented file,
`target.json` (docs/target.md), so it judges any app with an OpenAPI document.

    control.py   what a control is, and how controls are found
    trial.py     one control's attempts, evidence and verdict
    target.py    the running app: personas, signed-in clients, databases, variants
    start.py     starting and stopping the app
    run.py       one whole check
"""
