"""Countries: capital and continent."""

_ROWS = """
France|Paris|Europe
Germany|Berlin|Europe
Italy|Rome|Europe
Spain|Madrid|Europe
Portugal|Lisbon|Europe
Greece|Athens|Europe
Austria|Vienna|Europe
Belgium|Brussels|Europe
Netherlands|Amsterdam|Europe
Denmark|Copenhagen|Europe
Norway|Oslo|Europe
Sweden|Stockholm|Europe
Finland|Helsinki|Europe
Iceland|Reykjavik|Europe
Ireland|Dublin|Europe
Poland|Warsaw|Europe
Hungary|Budapest|Europe
Romania|Bucharest|Europe
Bulgaria|Sofia|Europe
Ukraine|Kyiv|Europe
Russia|Moscow|Europe
Croatia|Zagreb|Europe
Serbia|Belgrade|Europe
Slovakia|Bratislava|Europe
Switzerland|Bern|Europe
United Kingdom|London|Europe
Latvia|Riga|Europe
Estonia|Tallinn|Europe
Turkey|Ankara|Asia
China|Beijing|Asia
Japan|Tokyo|Asia
India|New Delhi|Asia
Thailand|Bangkok|Asia
Vietnam|Hanoi|Asia
Indonesia|Jakarta|Asia
Philippines|Manila|Asia
South Korea|Seoul|Asia
Mongolia|Ulaanbaatar|Asia
Nepal|Kathmandu|Asia
Pakistan|Islamabad|Asia
Iran|Tehran|Asia
Iraq|Baghdad|Asia
Saudi Arabia|Riyadh|Asia
Lebanon|Beirut|Asia
Syria|Damascus|Asia
Egypt|Cairo|Africa
Morocco|Rabat|Africa
Algeria|Algiers|Africa
Tunisia|Tunis|Africa
Libya|Tripoli|Africa
Kenya|Nairobi|Africa
Ethiopia|Addis Ababa|Africa
Ghana|Accra|Africa
Nigeria|Abuja|Africa
Senegal|Dakar|Africa
Uganda|Kampala|Africa
Zambia|Lusaka|Africa
Zimbabwe|Harare|Africa
Canada|Ottawa|North America
United States|Washington|North America
Mexico|Mexico City|North America
Cuba|Havana|North America
Jamaica|Kingston|North America
Brazil|Brasilia|South America
Argentina|Buenos Aires|South America
Chile|Santiago|South America
Peru|Lima|South America
Colombia|Bogota|South America
Ecuador|Quito|South America
Venezuela|Caracas|South America
Uruguay|Montevideo|South America
Australia|Canberra|Oceania
New Zealand|Wellington|Oceania
Fiji|Suva|Oceania
"""

_CELLS = [line.split("|") for line in _ROWS.strip().splitlines()]

CAPITALS: dict[str, str] = {row[0]: row[1] for row in _CELLS}
CONTINENTS: dict[str, str] = {row[0]: row[2] for row in _CELLS}
THE_COUNTRIES = frozenset({"Netherlands", "United Kingdom", "United States", "Philippines"})
