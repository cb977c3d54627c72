# Pipenv with a system-wide installation from its lock.
FROM python:3.9
WORKDIR /usr/src/app
COPY Pipfile Pipfile.lock ./
RUN pip install pipenv && pipenv install --system --deploy --ignore-pipfile
COPY . .
CMD [ "python", "./server.py" ]
