"""One patron's card at a self-check machine, with requests and cryptography alone.

A real program reads the certificate from the card and lets the card sign; here a key from the sandbox
plays the card. Run it with the variables that `koha-jpki sandbox` prints.
"""

import base64
import os
from pathlib import Path

import requests
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

api = f"{os.environ['BRIDGE']}/api/v1"
card = Path(os.environ["CARD"])
token = Path(os.environ["SELF_CHECK_TOKEN_FILE"]).read_text().strip()
headers = {"Authorization": f"Bearer {token}", "Accept-Language": "en"}


def call(path: str, body: dict[str, str]) -> dict[str, str]:
    """Send one request; a refusal ends the program."""
    response = requests.post(f"{api}{path}", json=body, headers=headers, timeout=30)
    if not response.ok:  # application/problem+json
        problem = response.json()
        raise SystemExit(f"refused: {problem['type']} {problem['title']}")
    return response.json()


# 1. The certificate is read without a PIN. A card that cannot be used is refused here: no try is lost.
certificate = base64.b64encode((card / "certificate.der").read_bytes()).decode()
challenge = call("/challenges", {"purpose": "borrow", "certificate": certificate})

# 2. The patron types the PIN, and the card signs the message (RSA, PKCS #1 v1.5, SHA-256).
key = load_pem_private_key((card / "card.key").read_bytes(), None)
signature = key.sign(base64.b64decode(challenge["message"]), PKCS1v15(), SHA256())

# 3. The answer holds the number that the machine takes for a scanned library card. Do not keep it.
answer = call(
    f"/challenges/{challenge['challenge_id']}/response",
    {"certificate": certificate, "signature": base64.b64encode(signature).decode()},
)
print(answer["token"])
