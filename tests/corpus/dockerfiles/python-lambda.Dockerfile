# A function image: destination from a variable of the base image.
FROM registry.example/lambda/python:3.12
COPY requirements.txt ${LAMBDA_TASK_ROOT}
RUN pip install -r requirements.txt --target "${LAMBDA_TASK_ROOT}"
COPY handler.py ${LAMBDA_TASK_ROOT}
CMD [ "handler.main" ]
