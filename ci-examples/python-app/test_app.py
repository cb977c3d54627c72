import unittest

from app import app


class Summary(unittest.TestCase):
    def setUp(self):
        self.client = app.test_client()

    def test_a_list_is_summed_up(self):
        answer = self.client.post("/summary", json=[1, 2, 3, 10])
        self.assertEqual(answer.status_code, 200)
        self.assertEqual(answer.json["count"], 4)
        self.assertEqual(answer.json["mean"], 4)
        self.assertEqual(answer.json["median"], 2.5)

    def test_anything_else_is_refused(self):
        for body in ([], "text", [[1, 2], [3, 4]], ["one"], {"a": 1}):
            with self.subTest(body=body):
                self.assertEqual(self.client.post("/summary", json=body).status_code, 400)


if __name__ == "__main__":
    unittest.main()
