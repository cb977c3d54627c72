"""A small service that returns summary statistics of a list of numbers."""

import numpy as np
from flask import Flask, jsonify, request

app = Flask(__name__)


@app.get("/")
def index():
    return jsonify(service="summary", usage="POST a JSON list of numbers to /summary")


@app.post("/summary")
def summary():
    try:
        values = np.asarray(request.get_json(), dtype=float)
    except (TypeError, ValueError):
        values = np.empty(0)
    if values.ndim != 1 or values.size == 0:
        return jsonify(error="expected a list of numbers"), 400
    return jsonify(
        count=values.size,
        mean=values.mean(),
        median=float(np.median(values)),
        p95=float(np.percentile(values, 95)),
    )
