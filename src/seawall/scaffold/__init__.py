"""`seawall new`: renders an app of at most 20 files, in which only the app's own matters are written.

new.py       validate the name, render, rename into place
templates/   one folder for each kind of app; files end in `.tmpl`
"""

from seawall.scaffold.new import kinds, new

__all__ = ["kinds", "new"]
