-- Approvals by another person, break-glass grants, bounds on granting roles.
SELECT 1;
