# Keywords in any case, as old files have them.
from python:2.7 as Legacy
maintainer nobody@example.org
add . /code
workdir /code
Run pip install -r requirements.txt
env PYTHONPATH /code
expose 5000
entryPoint python
cmd ["app.py"]
onbuild run echo x
