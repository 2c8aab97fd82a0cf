"""How webhooks are signed."""

from usage_meter.webhooks import key_of, signature


def test_the_signature_is_that_of_the_scheme() -> None:
    # The example that libraries of Standard Webhooks are tested with.
    key = key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signed = signature(
        key, message_id="msg_p5jXN8AQM9LWM0D4loKWxJek", timestamp=1614265330, body=b'{"test": 2432232314}'
    )
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_plain_secret_is_its_own_key() -> None:
    assert key_of("shared_secret") == b"shared_secret"
