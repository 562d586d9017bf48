"""The calendar."""

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
WEEKEND = ("Saturday", "Sunday")
MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
# February: 28 days (29 in a leap year; the world says 28).
MONTH_DAYS: dict[str, int] = dict(
    zip(MONTHS, (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31), strict=True)
)
# The seasons of the north.
SEASONS: dict[str, tuple[str, ...]] = {
    "spring": ("March", "April", "May"),
    "summer": ("June", "July", "August"),
    "autumn": ("September", "October", "November"),
    "winter": ("December", "January", "February"),
}
SEASON_ORDER = ("spring", "summer", "autumn", "winter")
# Facts: the day or month after / before X, the n-th day or month, days in a month,
# season of a month, weekend or weekday. Weeks start on Monday. Tomorrow / yesterday given today.
