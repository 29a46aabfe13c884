"""How perfmon is built; the rest of the metadata stands in pyproject.toml.

`twisted.plugins` is named as a package and `package_dir` is set so that plain,
wheel and editable installs all put the plugin where Twisted looks: it searches
`sys.path`, which an import-hook editable install would not extend.
"""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["perfmon", "perfmon.*"]), "twisted.plugins"],
    package_dir={"": "."},
    package_data={"perfmon": ["py.typed"], "perfmon.web": ["static/*"]},
)
