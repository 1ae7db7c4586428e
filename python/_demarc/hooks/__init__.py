"""The list of hooks: which module each waits for and which function patches it. A hook's file is only loaded when its
module is imported by the service.

A hook MUST call the original exactly once with the arguments it was given, return or raise what it gave, catch every
failure of its own (core.failed(NAME) in the except clause), ask core.state.on first and do nothing else when it is
false, and keep nothing that grows.
"""

HOOKS = (
    # (name of the hook, module it waits for, file in this folder, function called with the module)
    ("asgi", "starlette.applications", "asgi", "patch_starlette"),
    ("asgi", "uvicorn.config", "asgi", "patch_uvicorn"),
)
