-- Whatever ends a person's sessions ends these as well, in a table that a flood of begun sign-ins makes long.
CREATE INDEX sign_in_transactions_choosing ON seawall.sign_in_transactions (user_id) WHERE purpose = 'tenant';
